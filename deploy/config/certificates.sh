#!/bin/bash
# Makes the trial's certificates into /certificates: an authority, and one certificate for each service that needs one.
# Runs once; an existing set is kept.
set -euo pipefail
cd "${1:-/certificates}"
[ ! -e complete ] || exit 0
command -v openssl >/dev/null || { apt-get update -q >/dev/null && apt-get install -y -q --no-install-recommends openssl >/dev/null; }
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 825 -subj '/CN=Postern trial CA' \
    -keyout ca.key -out ca.crt 2>/dev/null
issue() {
    local name=$1 names=$2
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" -keyout "$name.key" -out "$name.csr" 2>/dev/null
    openssl x509 -req -in "$name.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 825 -out "$name.crt" \
        -extfile <(printf 'subjectAltName=%s\n' "$names") 2>/dev/null
    rm "$name.csr"
}
issue gate DNS:gate-1,DNS:gate-2,DNS:balancer,DNS:localhost,IP:127.0.0.1
issue postgres DNS:postgres
issue login DNS:login.postern.test,DNS:localhost,IP:127.0.0.1
cat login.crt login.key >login.pem
# Each key for the user of its service's image: postgres is 999 there, postern 10001, haproxy 99.
chmod 600 ./*.key login.pem
if [ "$(id -u)" = 0 ]; then chown 999 postgres.key; chown 10001 gate.key; chown 99 login.pem; fi
touch complete
