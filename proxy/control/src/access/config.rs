//! Settings of access: the `[access]` section. Every node needs the same: gates and the API alike.

use super::{Access, Role, Rule, Standing, Window};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// The `[access]` section. None of it can change while running.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Groups that may disable identities, kill sessions and revoke any grant. _Default:_ `["operators"]`.
    pub operators: Vec<String>,
    /// Seconds that a request waits for reviewers, 60 to 604800. _Default:_ 3600.
    pub request_expires_seconds: u64,
    /// Roles that can be asked for. _Default:_ none.
    pub roles: Vec<RoleFile>,
    /// Access by name that needs no request, besides each resource's `connect_groups`. _Default:_ none.
    pub standing: Vec<StandingFile>,
    /// Programs that may review, each by name: all others that are no people may not, whatever groups they have.
    /// _Default:_ none.
    pub machine_reviewers: Vec<MachineFile>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            operators: vec!["operators".to_owned()],
            request_expires_seconds: 3600,
            roles: Vec::new(),
            standing: Vec::new(),
            machine_reviewers: Vec::new(),
        }
    }
}

/// One entry of `[[access.machine_reviewers]]`: an identity that is no person and reviews all the same.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineFile {
    /// The subject.
    pub subject: String,
    /// Who vouches for it; `urn:postern:api-key` for an API key.
    pub issuer: String,
    /// Who acts for it, the outermost first, as in its chain of `act` claims: nobody else may act for it. _Default:_ none.
    #[serde(default)]
    pub through: Vec<String>,
}

/// One entry of `[[access.roles]]`: a role of one resource.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleFile {
    /// The resource.
    pub resource: String,
    /// The role's name. A session in it is in the group `role:<name>`, for policies and masking rules.
    pub name: String,
    /// More groups that such a session has. _Default:_ none.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Groups that may ask for it. _Default:_ none: everybody whom an issuer vouches for.
    #[serde(default)]
    pub requesters: Vec<String>,
    /// Groups whose members answer; never the requester. _Default:_ none: only rules grant it.
    #[serde(default)]
    pub reviewers: Vec<String>,
    /// How many of them must agree; 2 is the rule of two people. _Default:_ 1.
    #[serde(default = "one")]
    pub approvals: u32,
    /// Longest grant in minutes, at most 44640 (31 days). _Default:_ 480.
    #[serde(default = "workday")]
    pub max_minutes: u64,
    /// Longest grant in minutes that whoever may ask can have at once with `--break-glass`, with an alarm and a review
    /// afterwards; 0: none. _Default:_ 0.
    #[serde(default)]
    pub break_glass_minutes: u64,
    /// Groups that may break the glass. _Default:_ none: all that may ask.
    #[serde(default)]
    pub break_glass_groups: Vec<String>,
    /// Rules that grant at once, without reviewers. _Default:_ none.
    #[serde(default)]
    pub auto: Vec<AutoFile>,
}

/// One entry of `[[access.roles.auto]]`: a rule that grants at once.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoFile {
    /// Its name, as events state it.
    pub name: String,
    /// For members of these groups.
    pub groups: Vec<String>,
    /// For at most these minutes.
    pub max_minutes: u64,
    /// When, such as `Mon-Fri 08:00-18:00`, UTC. _Default:_ always.
    pub window: Option<String>,
    /// Outside of the window, not inside. _Default:_ false.
    #[serde(default)]
    pub outside: bool,
}

/// One entry of `[[access.standing]]`: access that needs no request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandingFile {
    /// Its name.
    pub name: String,
    /// Subjects that have it, of the one `issuer`. _Default:_ none.
    #[serde(default)]
    pub subjects: Vec<String>,
    /// Groups whose members have it, whoever acts for them. _Default:_ none.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The issuer that vouches for them, as its tokens state it (or an API key's or a certificate's: see the events of a
    /// session). Subjects need it: those of the same name at another issuer are somebody else. _Default:_ none: members of
    /// the groups by any issuer.
    pub issuer: Option<String>,
    /// Who may act for the subjects: each actor of the `act` claim must be named. _Default:_ none: only they themselves.
    #[serde(default)]
    pub actors: Vec<String>,
    /// The resource.
    pub resource: String,
    /// The role. _Default:_ none: what their groups give.
    pub role: Option<String>,
    /// When, such as `Mon-Fri 08:00-18:00`, UTC; sessions end with it. _Default:_ always.
    pub window: Option<String>,
}

const fn one() -> u32 {
    1
}

const fn workday() -> u64 {
    480
}

const MONTH: u64 = 31 * 24 * 60;

impl File {
    /// Checks the section.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn check(self) -> Result<Access, Vec<String>> {
        let mut problems = Vec::new();
        if !(60..=604_800).contains(&self.request_expires_seconds) {
            problems.push("access.request_expires_seconds must be 60 to 604800".to_owned());
        }
        let mut seen = BTreeSet::new();
        let mut roles = Vec::new();
        for file in self.roles {
            let place = format!("access.roles {:?} of {:?}", file.name, file.resource);
            if !seen.insert((file.resource.clone(), file.name.clone())) {
                problems.push(format!("{place}: is there twice"));
            }
            roles.push(file.check(&place, &mut problems));
        }
        for machine in &self.machine_reviewers {
            if machine.subject.is_empty() || machine.issuer.is_empty() || machine.through.iter().any(String::is_empty) {
                problems
                    .push("access.machine_reviewers: an entry needs a subject and an issuer, none empty".to_owned());
            }
        }
        let standing: Vec<Standing> = self.standing.into_iter().map(|file| file.check(&roles, &mut problems)).collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Access {
            operators: self.operators,
            request_expires: Duration::from_secs(self.request_expires_seconds),
            roles,
            standing,
            machine_reviewers: self.machine_reviewers,
        })
    }
}

impl RoleFile {
    fn check(self, place: &str, problems: &mut Vec<String>) -> Role {
        let mut require = |holds: bool, text: &str| {
            if !holds {
                problems.push(format!("{place}: {text}"));
            }
        };
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        require(
            !self.name.is_empty() && self.name.len() <= 64 && self.name.chars().all(legal),
            "the name must be 1 to 64 letters, digits, `.`, `_`, `-`",
        );
        require((1..=MONTH).contains(&self.max_minutes), "max_minutes must be 1 to 44640");
        require(self.break_glass_minutes <= MONTH, "break_glass_minutes must be at most 44640");
        require((1..=10).contains(&self.approvals), "approvals must be 1 to 10");
        require(
            self.break_glass_minutes == 0 || !self.reviewers.is_empty(),
            "break_glass_minutes needs reviewers, who look at it afterwards",
        );
        require(
            !self.reviewers.is_empty() || !self.auto.is_empty(),
            "has neither reviewers nor auto rules: nobody could get it",
        );
        let rules = self.auto.into_iter().map(|auto| {
            let place = format!("{place}: auto {:?}", auto.name);
            if auto.groups.is_empty() || !(1..=MONTH).contains(&auto.max_minutes) {
                problems.push(format!("{place} needs groups, and max_minutes of 1 to 44640"));
            }
            if auto.outside && auto.window.is_none() {
                problems.push(format!("{place}: outside needs a window"));
            }
            Rule {
                longest: Duration::from_secs(auto.max_minutes.saturating_mul(60)),
                window: window(auto.window, &place, problems),
                outside: auto.outside,
                name: auto.name,
                groups: auto.groups,
            }
        });
        Role {
            rules: rules.collect(),
            resource: self.resource,
            name: self.name,
            groups: self.groups,
            requesters: self.requesters,
            reviewers: self.reviewers,
            approvals: self.approvals,
            longest: Duration::from_secs(self.max_minutes.saturating_mul(60)),
            break_glass: (self.break_glass_minutes > 0)
                .then(|| Duration::from_secs(self.break_glass_minutes.saturating_mul(60))),
            break_glass_groups: self.break_glass_groups,
        }
    }
}

impl StandingFile {
    fn check(self, roles: &[Role], problems: &mut Vec<String>) -> Standing {
        let place = format!("access.standing {:?}", self.name);
        if self.subjects.is_empty() && self.groups.is_empty() {
            problems.push(format!("{place}: names neither subjects nor groups"));
        }
        if !self.subjects.is_empty() && self.issuer.is_none() {
            problems.push(format!("{place}: names subjects and not their issuer: one of that name may be at any"));
        }
        if !self.actors.is_empty() && self.subjects.is_empty() {
            problems.push(format!("{place}: names actors and no subjects for whom they act"));
        }
        let known = |name: &String| roles.iter().any(|role| role.resource == self.resource && role.name == *name);
        if self.role.as_ref().is_some_and(|name| !known(name)) {
            problems.push(format!("{place}: the resource {:?} has no such role", self.resource));
        }
        Standing {
            window: window(self.window, &place, problems),
            name: self.name,
            subjects: self.subjects,
            groups: self.groups,
            issuer: self.issuer,
            actors: self.actors,
            resource: self.resource,
            role: self.role,
        }
    }
}

fn window(text: Option<String>, place: &str, problems: &mut Vec<String>) -> Option<Window> {
    let parsed = text.map(|text| text.parse());
    match parsed {
        Some(Err(problem)) => {
            problems.push(format!("{place}: {problem}"));
            None
        }
        Some(Ok(window)) => Some(window),
        None => None,
    }
}
