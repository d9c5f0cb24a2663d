//! What the config says about access: roles that can be asked for, who answers, who stands in no need to ask.
//!
//! ```text
//! identity -> standing access of the config -+
//!          -> live grants of the State ------+-> Allowance: the roles of a session, and when it ends
//! wish     -> role, rules, limits -------------> AccessRequest: reviewed, automatic or broken glass
//! ```

mod config;
#[cfg(test)]
mod tests;
mod window;

pub use config::{AutoFile, File, MachineFile, RoleFile, StandingFile};
pub use window::Window;

use crate::record::AccessRequest;
use crate::state::{Grant, Refused, State, person};
use schemas::event::RequestKind;
use schemas::{GrantId, Identity, RequestId};
use std::sync::Arc;
use std::time::Duration;

/// Groups that begin so are given by the access plane alone: an issuer's are taken away.
pub const ROLE_PREFIX: &str = "role:";

/// A role of a resource, as the config has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// The registered database.
    pub resource: String,
    /// Its name.
    pub name: String,
    /// Groups that a session in this role has besides `role:<name>`.
    pub groups: Vec<String>,
    /// Groups that may ask for it; empty: everybody whom an issuer vouches for.
    pub requesters: Vec<String>,
    /// Groups that answer.
    pub reviewers: Vec<String>,
    /// How many must agree.
    pub approvals: u32,
    /// Longest grant.
    pub longest: Duration,
    /// Longest grant by broken glass; none: the glass holds.
    pub break_glass: Option<Duration>,
    /// Groups that may break it; empty: all that may ask.
    pub break_glass_groups: Vec<String>,
    /// Rules that grant at once.
    pub rules: Vec<Rule>,
}

/// A rule that grants at once, without reviewers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name, as events state it.
    pub name: String,
    /// For members of one of these groups.
    pub groups: Vec<String>,
    /// For at most this long.
    pub longest: Duration,
    /// When; always where there is none.
    pub window: Option<Window>,
    /// Outside of the window, not inside.
    pub outside: bool,
}

/// Access that needs no request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// Subjects that have it.
    pub subjects: Vec<String>,
    /// Groups whose members have it.
    pub groups: Vec<String>,
    /// The issuer that vouches for them; none: any, where there are no subjects.
    pub issuer: Option<String>,
    /// Who may act for the subjects.
    pub actors: Vec<String>,
    /// The registered database.
    pub resource: String,
    /// The role; none: what their groups give.
    pub role: Option<String>,
    /// When; always where there is none.
    pub window: Option<Window>,
}

/// The `[access]` section, checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// Groups that may disable identities, kill sessions and revoke any grant.
    pub operators: Vec<String>,
    /// How long a request waits for reviewers.
    pub request_expires: Duration,
    roles: Vec<Role>,
    standing: Vec<Standing>,
    machine_reviewers: Vec<MachineFile>,
}

/// What somebody wishes for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The registered database.
    pub resource: String,
    /// The role.
    pub role: String,
    /// For how long.
    pub duration: Duration,
    /// Why.
    pub reason: String,
    /// In an emergency: at once, reviewed afterwards.
    pub break_glass: bool,
    /// The grant that is to last longer.
    pub extends: Option<GrantId>,
}

/// Why a wish is not taken as a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The config has no such role.
    #[error("the resource {resource:?} has no role {role:?}; it has: {known}")]
    NoRole {
        /// The resource.
        resource: String,
        /// The role that was named.
        role: String,
        /// Those that there are.
        known: String,
    },
    /// The identity may not ask for it.
    #[error("only members of {0} may ask for this role")]
    NotRequester(String),
    /// Longer than the role may be had.
    #[error("this role is granted for at most {0} minutes at a time")]
    TooLong(u64),
    /// No time at all.
    #[error("a grant lasts at least one second")]
    TooShort,
    /// Reviewers need something to go by.
    #[error("a request needs a reason, of at most {MAX_REASON_BYTES} bytes")]
    NoReason,
    /// The glass holds.
    #[error("this role cannot be had by breaking the glass{0}")]
    NoBreakGlass(String),
    /// Nobody could answer.
    #[error("nobody is named who could answer: the role has no reviewers, and no rule grants it now")]
    NoReviewers,
}

/// Longest reason.
pub const MAX_REASON_BYTES: usize = 2048;

/// What lets a session in, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allowance {
    /// Groups that the session has by it.
    pub groups: Vec<String>,
    /// Names of the roles.
    pub roles: Vec<String>,
    /// The grants that it rests on: it ends when one of them does.
    pub grants: Vec<GrantId>,
    /// Its end, microseconds since 1970-01-01 UTC; none: with the token.
    pub until: Option<i64>,
    /// The end of the standing access in it, where that has one.
    pub standing: Option<i64>,
    /// Standing access or a grant is there.
    pub named: bool,
}

impl Access {
    /// A role of a resource.
    pub fn role(&self, resource: &str, name: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.resource == resource && role.name == name)
    }

    /// The roles of a resource.
    pub fn roles<'a>(&'a self, resource: &'a str) -> impl Iterator<Item = &'a Role> {
        self.roles.iter().filter(move |role| role.resource == resource)
    }

    /// All roles.
    pub fn all_roles(&self) -> &[Role] {
        &self.roles
    }

    /// Whether the identity is in one of the operators' groups.
    pub fn is_operator(&self, identity: &Identity) -> bool {
        any(&self.operators, &identity.groups)
    }

    /// Whether a person is there, and nobody acts for that person: what gives rights is theirs to do.
    ///
    /// # Errors
    /// [`Refused::NotPerson`].
    pub fn person(&self, identity: &Identity) -> Result<(), Refused> {
        person(identity)
    }

    /// The entry by which an identity that is no person reviews; none for people and for programs that are not named.
    pub fn exception(&self, identity: &Identity) -> Option<String> {
        person(identity).err()?;
        let is_it = |one: &&MachineFile| {
            one.subject == identity.subject && one.issuer == identity.issuer && one.through == identity.on_behalf_of
        };
        let found = self.machine_reviewers.iter().find(is_it)?;
        Some(format!("access.machine_reviewers: {} of {}", found.subject, found.issuer))
    }

    /// What the identity has on a resource now, by standing access and by its grants. What the config does not know any
    /// more gives nothing.
    pub fn allowance(&self, state: &State, identity: &Identity, resource: &str, now: i64) -> Allowance {
        let mut allowance = Allowance::default();
        for standing in self.standing.iter().filter(|one| one.resource == resource && one.is_for(identity)) {
            let until = match &standing.window {
                Some(window) => match window.until(now) {
                    Some(until) => Some(until),
                    None => continue,
                },
                None => None,
            };
            let role = standing.role.as_deref();
            if role.is_none_or(|role| allowance.add(self.role(resource, role))) {
                allowance.named = true;
                allowance.standing = earlier(allowance.standing, until);
                allowance.until = earlier(allowance.until, until);
            }
        }
        for grant in state.live_grants(identity, resource, now) {
            if allowance.add(self.role(resource, &grant.role)) {
                allowance.named = true;
                allowance.grants.push(grant.id);
                allowance.until = earlier(allowance.until, Some(grant.until));
            }
        }
        allowance
    }

    /// The roles that this identity may ask for on a resource.
    pub fn requestable<'a>(&'a self, identity: &'a Identity, resource: &'a str) -> impl Iterator<Item = &'a Role> {
        self.roles(resource).filter(|role| role.may_ask(identity))
    }

    /// Makes a wish a request, and says how it is answered.
    ///
    /// # Errors
    /// [`Denied`]: it is not even asked.
    pub fn ask(&self, requester: &Identity, wish: Wish, now: i64) -> Result<AccessRequest, Denied> {
        let role = self.role(&wish.resource, &wish.role).ok_or_else(|| Denied::NoRole {
            known: names(self.requestable(requester, &wish.resource)),
            resource: wish.resource.clone(),
            role: wish.role.clone(),
        })?;
        if !role.may_ask(requester) {
            return Err(Denied::NotRequester(role.requesters.join(", ")));
        }
        if wish.reason.trim().is_empty() || wish.reason.len() > MAX_REASON_BYTES {
            return Err(Denied::NoReason);
        }
        if wish.duration < Duration::from_secs(1) {
            return Err(Denied::TooShort);
        }
        let (kind, rule) = role.answer(requester, &wish, now)?;
        Ok(AccessRequest {
            id: RequestId::generate(),
            requester: requester.clone(),
            resource: wish.resource,
            role: wish.role,
            duration: micros(wish.duration),
            reason: wish.reason,
            kind,
            rule,
            extends: wish.extends,
            reviewers: role.reviewers.clone(),
            approvals: role.approvals,
            expires: now.saturating_add(micros(self.request_expires)),
        })
    }

    /// Whether somebody may end this grant: its holder, a reviewer of it, or an operator.
    pub fn may_revoke(&self, identity: &Identity, grant: &Arc<Grant>) -> bool {
        grant.is_of(identity) || any(&grant.reviewers, &identity.groups) || self.is_operator(identity)
    }
}

impl Allowance {
    /// Adds a role, if there is one.
    fn add(&mut self, role: Option<&Role>) -> bool {
        let Some(role) = role else { return false };
        if !self.roles.contains(&role.name) {
            self.roles.push(role.name.clone());
            self.groups.push(format!("{ROLE_PREFIX}{}", role.name));
            self.groups.extend(role.groups.iter().cloned());
        }
        true
    }

    /// The identity as policies are to see it: without groups that only this plane gives, and with those that it gave.
    pub fn acting(&self, identity: &Identity) -> Identity {
        let mut acting = identity.clone();
        acting.groups.retain(|group| !group.starts_with(ROLE_PREFIX));
        acting.groups.extend(self.groups.iter().cloned());
        acting
    }
}

impl Role {
    fn may_ask(&self, identity: &Identity) -> bool {
        self.requesters.is_empty() || any(&self.requesters, &identity.groups)
    }

    fn answer(&self, requester: &Identity, wish: &Wish, now: i64) -> Result<(RequestKind, Option<String>), Denied> {
        if wish.break_glass {
            let longest = self.break_glass.ok_or_else(|| Denied::NoBreakGlass(String::new()))?;
            if !self.break_glass_groups.is_empty() && !any(&self.break_glass_groups, &requester.groups) {
                let text = format!(", but by members of {}", self.break_glass_groups.join(", "));
                return Err(Denied::NoBreakGlass(text));
            }
            within(wish.duration, longest)?;
            return Ok((RequestKind::BreakGlass, None));
        }
        within(wish.duration, self.longest)?;
        let fits = |rule: &&Rule| {
            any(&rule.groups, &requester.groups)
                && wish.duration <= rule.longest
                && rule.window.as_ref().is_none_or(|window| window.until(now).is_some() != rule.outside)
        };
        match self.rules.iter().find(fits) {
            Some(rule) => Ok((RequestKind::Automatic, Some(rule.name.clone()))),
            None if self.reviewers.is_empty() => Err(Denied::NoReviewers),
            None => Ok((RequestKind::Reviewed, None)),
        }
    }
}

impl Standing {
    fn is_for(&self, identity: &Identity) -> bool {
        if self.issuer.as_ref().is_some_and(|issuer| *issuer != identity.issuer) {
            return false;
        }
        // a subject is its issuer's, and who acts for it is not it
        let named = self.issuer.is_some() && self.subjects.contains(&identity.subject);
        let itself = named && identity.on_behalf_of.iter().all(|actor| self.actors.contains(actor));
        itself || any(&self.groups, &identity.groups)
    }
}

fn earlier(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn within(duration: Duration, longest: Duration) -> Result<(), Denied> {
    if duration > longest { Err(Denied::TooLong(longest.as_secs() / 60)) } else { Ok(()) }
}

fn any(wanted: &[String], groups: &[String]) -> bool {
    groups.iter().any(|group| wanted.contains(group))
}

fn names<'a>(roles: impl Iterator<Item = &'a Role>) -> String {
    let names: Vec<&str> = roles.map(|role| role.name.as_str()).collect();
    if names.is_empty() { "none that you may ask for".to_owned() } else { names.join(", ") }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
