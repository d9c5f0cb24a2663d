//! Who may ask for, review and use what: roles, windows, standing access.

use super::*;
use crate::envelope::Stamp;
use crate::record::Record;
use crate::testing::identity;

/// Monday, 1970-01-05, at this hour.
const fn monday(hour: i64) -> i64 {
    (4 * 24 + hour) * 3_600_000_000
}

fn file() -> File {
    let auto = |name: &str, group: &str, minutes: u64, outside: bool| {
        serde_json::json!({"name": name, "groups": [group], "max_minutes": minutes, "window": "Mon-Fri 08:00-18:00",
                           "outside": outside})
    };
    let file = serde_json::json!({
        "roles": [{"resource": "shop", "name": "billing", "groups": ["accounting"], "requesters": ["agents"],
                   "reviewers": ["dba"], "max_minutes": 60, "break_glass_minutes": 10, "break_glass_groups": ["oncall"],
                   "auto": [auto("short", "trusted", 15, false), auto("night", "oncall", 30, true)]}],
        "standing": [{"name": "nightly", "subjects": ["job"], "issuer": "https://issuer.example", "resource": "shop", "role": "billing",
                      "window": "Mon-Sun 02:00-03:00"}]});
    serde_json::from_value(file).unwrap()
}

fn access() -> Access {
    file().check().unwrap()
}

fn wish(minutes: u64) -> Wish {
    Wish {
        resource: "shop".into(),
        role: "billing".into(),
        duration: Duration::from_secs(minutes * 60),
        reason: "ticket".into(),
        break_glass: false,
        extends: None,
    }
}

#[test]
fn a_wish_is_answered_by_rules_reviewers_or_broken_glass() {
    let access = access();
    let ask = |groups: &[&str], wish: Wish, hour| {
        access.ask(&identity("bot", groups), wish, monday(hour)).map(|request| (request.kind, request.rule))
    };
    assert_eq!(ask(&["agents"], wish(60), 12), Ok((RequestKind::Reviewed, None)));
    assert_eq!(ask(&["agents"], wish(61), 12), Err(Denied::TooLong(60)));
    assert_eq!(ask(&["others"], wish(5), 12), Err(Denied::NotRequester("agents".into())));
    let short = Ok((RequestKind::Automatic, Some("short".to_owned())));
    assert_eq!(ask(&["agents", "trusted"], wish(15), 12), short);
    assert_eq!(ask(&["agents", "trusted"], wish(16), 12), Ok((RequestKind::Reviewed, None)), "longer than the rule");
    assert_eq!(ask(&["agents", "trusted"], wish(15), 20), Ok((RequestKind::Reviewed, None)), "outside of its window");
    let night = Ok((RequestKind::Automatic, Some("night".to_owned())));
    assert_eq!(ask(&["agents", "oncall"], wish(30), 20), night);
    assert_eq!(ask(&["agents", "oncall"], wish(30), 12), Ok((RequestKind::Reviewed, None)));
    let glass = |minutes| Wish { break_glass: true, ..wish(minutes) };
    assert_eq!(ask(&["agents", "oncall"], glass(10), 12), Ok((RequestKind::BreakGlass, None)));
    assert_eq!(ask(&["agents", "oncall"], glass(11), 12), Err(Denied::TooLong(10)));
    assert!(matches!(ask(&["agents"], glass(5), 12), Err(Denied::NoBreakGlass(_))));
    assert_eq!(ask(&["agents"], Wish { reason: " ".into(), ..wish(5) }, 12), Err(Denied::NoReason));
    assert_eq!(ask(&["agents"], Wish { duration: Duration::ZERO, ..wish(5) }, 12), Err(Denied::TooShort));
    assert!(matches!(ask(&["agents"], Wish { role: "root".into(), ..wish(5) }, 12), Err(Denied::NoRole { .. })));
}

#[test]
fn an_allowance_is_standing_access_and_grants() {
    let access = access();
    let mut state = State::default();
    let (bot, job) = (identity("bot", &["agents", "role:billing"]), identity("job", &[]));
    let of = |state: &State, who: &Identity, hour| access.allowance(state, who, "shop", monday(hour));
    assert_eq!(of(&state, &bot, 12), Allowance::default());
    assert_eq!(of(&state, &bot, 12).acting(&bot).groups, ["agents"], "an issuer gives no roles");
    assert_eq!(of(&state, &job, 12), Allowance::default(), "outside of its window");
    let standing = of(&state, &job, 2);
    assert_eq!((standing.named, standing.until), (true, Some(monday(3))));
    assert_eq!(standing.groups, ["role:billing", "accounting"]);
    let other = Identity { issuer: "https://other.example".into(), ..job.clone() };
    assert_eq!(of(&state, &other, 2), Allowance::default(), "the same name at another issuer is somebody else");
    let acting = Identity { on_behalf_of: vec!["agent".into()], ..job.clone() };
    assert_eq!(of(&state, &acting, 2), Allowance::default(), "who acts for it is not it");
    let mut named = file();
    named.standing[0].actors = vec!["agent".into()];
    let named = named.check().unwrap();
    assert!(named.allowance(&state, &acting, "shop", monday(2)).named, "unless it is named");
    let more = Identity { on_behalf_of: vec!["agent".into(), "other".into()], ..job.clone() };
    assert!(!named.allowance(&state, &more, "shop", monday(2)).named, "each of them");
    let mut request = access.ask(&bot, wish(30), monday(12)).unwrap();
    (request.kind, request.rule) = (RequestKind::Automatic, Some("short".into()));
    let stamp = Stamp { author: "a".into(), key: [1; 32], epoch: 1, sequence: 1, time: monday(12), seen: None };
    state.apply(&stamp, &Record::AccessRequested(request.clone())).unwrap();
    let granted = of(&state, &bot, 12);
    assert_eq!(granted.grants, [GrantId::from_bytes(*request.id.as_bytes())]);
    assert_eq!(granted.until, Some(monday(12) + 30 * 60_000_000));
    assert_eq!(granted.acting(&bot).groups, ["agents", "role:billing", "accounting"]);
    assert!(!of(&state, &bot, 13).named, "it has ended");
    let unknown = Access::default().allowance(&state, &bot, "shop", monday(12));
    assert_eq!(unknown, Allowance::default(), "a role that the config does not have gives nothing");
}

#[test]
fn all_problems_come_at_once() {
    let mut file = file();
    file.request_expires_seconds = 1;
    file.roles[0].approvals = 0;
    file.roles[0].auto[0].window = Some("whenever".into());
    file.roles.push(RoleFile {
        name: "a b".into(),
        reviewers: Vec::new(),
        auto: Vec::new(),
        break_glass_minutes: 0,
        ..file.roles[0].clone()
    });
    file.standing[0].role = Some("root".into());
    file.standing[0].subjects.clear();
    file.standing[0].actors = vec!["agent".into()];
    file.standing.push(StandingFile {
        subjects: vec!["job".into()],
        issuer: None,
        actors: Vec::new(),
        role: None,
        ..file.standing[0].clone()
    });
    let problems = file.check().unwrap_err();
    assert_eq!(problems.len(), 10, "{problems:#?}");
}

#[test]
fn programs_review_only_where_they_are_named() {
    let mut file = file();
    file.machine_reviewers = vec![
        MachineFile { subject: "risk-bot".into(), issuer: "https://issuer.example".into(), through: vec![] },
        MachineFile { subject: "ada".into(), issuer: "https://issuer.example".into(), through: vec!["planner".into()] },
    ];
    let access = file.check().unwrap();
    let machine = |subject: &str, through: &[&str]| Identity {
        kind: schemas::IdentityKind::Machine,
        on_behalf_of: through.iter().map(|&one| one.to_owned()).collect(),
        ..identity(subject, &["dba"])
    };
    assert!(access.exception(&machine("risk-bot", &[])).is_some());
    assert!(access.exception(&machine("ada", &["planner"])).is_some());
    for (subject, through) in
        [("risk-bot", &["planner"][..]), ("ada", &[]), ("ada", &["planner", "other"]), ("eve", &[])]
    {
        assert_eq!(access.exception(&machine(subject, through)), None, "{subject} {through:?}");
    }
    let elsewhere = Identity { issuer: "https://other.example".into(), ..machine("risk-bot", &[]) };
    assert_eq!(access.exception(&elsewhere), None);
    assert_eq!(access.exception(&identity("ada", &["dba"])), None, "a person needs none");
    let mut file = self::file();
    file.machine_reviewers = vec![MachineFile { subject: "".into(), issuer: "x".into(), through: vec![] }];
    assert!(file.check().unwrap_err()[0].contains("access.machine_reviewers"));
}
