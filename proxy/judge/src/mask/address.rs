//! Addresses of hosts and networks: made-up ones lie where no real host does.

use super::{Method, value::digest};
use ring::hmac;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Appends what takes the place of an `inet` or `cidr`.
pub(super) fn hide(
    method: Method,
    key: Option<&hmac::Key>,
    field: &[u8],
    network: bool,
    binary: bool,
    out: &mut Vec<u8>,
) -> Option<()> {
    let (Method::Hash | Method::Fake, Some(key)) = (method, key) else { return None };
    let (address, length) = if binary { decode(field)? } else { read(std::str::from_utf8(field).ok()?)? };
    let chance = digest(key, "address", format!("{address}/{length}").as_bytes());
    let made = match address {
        // reserved for future use
        IpAddr::V4(_) => {
            let [a, b, c, d, ..] = chance;
            IpAddr::V4(Ipv4Addr::new(0xf0 | a & 0x0f, b, c, d))
        }
        // for documentation
        IpAddr::V6(_) => {
            let mut octets = [0; 16];
            for (to, from) in octets.iter_mut().zip([0x20, 0x01, 0x0d, 0xb8].iter().chain(&chance)) {
                *to = *from;
            }
            IpAddr::V6(Ipv6Addr::from(octets))
        }
    };
    if binary {
        encode(made, network, out);
    } else {
        let host = if made.is_ipv4() { "/32" } else { "/128" };
        out.extend_from_slice(format!("{made}{}", if network { host } else { "" }).as_bytes());
    }
    Some(())
}

fn read(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address.parse().ok()?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    Some((address, length.map_or(Some(whole), |length| length.parse().ok())?))
}

/// Family (2, and 3 for IPv6), bits, whether it is a network, bytes, address.
fn decode(field: &[u8]) -> Option<(IpAddr, u8)> {
    let [_, length, _, _, address @ ..] = field else { return None };
    let address = match address.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
        _ => return None,
    };
    Some((address, *length))
}

fn encode(address: IpAddr, network: bool, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => {
            out.extend_from_slice(&[2, 32, u8::from(network), 4]);
            out.extend_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            out.extend_from_slice(&[3, 128, u8::from(network), 16]);
            out.extend_from_slice(&address.octets());
        }
    }
}
