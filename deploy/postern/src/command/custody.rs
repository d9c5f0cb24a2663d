//! `postern audit hold | retain | custody`: what must be kept, what may go, and the log of both.

use crate::arguments::{Believed, Global, Hold, HoldSelection, Retain, Signing};
use crate::command::block_on;
use crate::config::Config;
use crate::failure::Failure;
use crate::{output, process};
use anyhow::Context as _;
use kit::Clock;
use recorder::archive::Trust;
use recorder::archive::custody::retain::{Amount, ClassPlan, Outcome, Spared};
use recorder::archive::custody::{Entry, Guard, Log, Noted, Plan, Retention, Selection, log, meant};
use recorder::config::Notary;
use std::fs;
use std::path::Path;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Runs a verb of `audit hold`.
pub fn hold(config: &Config, global: &Global, verb: &Hold) -> Result<(), Failure> {
    match verb {
        Hold::Place { case, reason, selection, signing, believed } => {
            let selection = selected(selection)?;
            let entry = Entry::HoldPlaced { case: named(case)?, reason: told(reason)?, selection: selection.clone() };
            // a case may be placed again: it then keeps this too
            let (number, by) = written(config, (signing, believed), |_| Some(entry.clone()))?;
            // it holds already, whatever becomes of the counting
            let store = config.archive.store()?;
            let sessions = block_on(async { Ok(meant(&*store, &selection).await) })?;
            let count = sessions.as_ref().ok();
            let text = || {
                let entry = made(number, &by);
                match &sessions {
                    Ok(count) => format!("{entry}; it means {count} sessions that are archived, and those that come"),
                    Err(error) => output::plain(&format!("{entry}; what it means could not be counted: {error}")),
                }
            };
            let json = || serde_json::json!({"entry": number, "by": by, "sessions": count});
            Ok(output::either(global.output, text, json)?)
        }
        Hold::Release { case, reason, signing, believed } => {
            let entry = Entry::HoldReleased { case: named(case)?, reason: told(reason)? };
            let in_force = |log: &Log| log.cases().contains_key(case.as_str());
            let (number, by) = written(config, (signing, believed), |log| in_force(log).then(|| entry.clone()))?;
            let json = || serde_json::json!({"entry": number, "by": by});
            Ok(output::either(global.output, || made(number, &by), json)?)
        }
        Hold::Ls { believed } => holds(config, global, believed),
    }
}

/// Writes an entry behind what the guard believes, and gives its number and who it is by.
fn written(
    config: &Config,
    (signing, believed): (&Signing, &Believed),
    decide: impl FnMut(&Log) -> Option<Entry>,
) -> Result<(u64, String), Failure> {
    let (store, notary, by) = (config.archive.store()?, notary(config)?, by(signing)?);
    let (now, guard) = (Clock::system().now_micros(), guard(believed, Some(&notary), config)?);
    let number = block_on(async { Ok(log::record(&*store, (&notary, &guard), (&by, now), decide).await?) })?;
    let missing =
        || Failure::NotFound("no hold is in force for this case; postern audit hold ls lists those".to_owned());
    Ok((number.ok_or_else(missing)?, by))
}

fn made(number: u64, by: &str) -> String {
    format!("entry {number} of the custody log, by {}", output::plain(by))
}

fn holds(config: &Config, global: &Global, believed: &Believed) -> Result<(), Failure> {
    let (store, guard) = (config.archive.store()?, guard(believed, None, config)?);
    // a release by a stranger would hide a hold that is in force
    let log = block_on(async {
        let log = Log::read(&*store).await?;
        guard.check(&*store, &log).await?;
        Ok(log)
    })?;
    let cases = log.cases();
    let rows: Vec<Vec<String>> = cases
        .values()
        .flatten()
        .map(|note| {
            let Entry::HoldPlaced { case, reason, selection } = &note.entry else { return Vec::new() };
            let cells = [case.clone(), output::time(note.time), note.by.clone(), shown(selection), reason.clone()];
            cells.iter().map(|cell| output::plain(cell)).collect()
        })
        .collect();
    let text = || output::table(&["CASE", "PLACED", "BY", "KEEPS", "REASON"], &rows);
    Ok(output::either(global.output, text, || serde_json::json!(cases))?)
}

/// Lists the log, with why an entry does not count.
pub fn list(config: &Config, global: &Global, believed: &Believed) -> Result<(), Failure> {
    let (store, guard) = (config.archive.store()?, guard(believed, None, config)?);
    let (log, doubts) = block_on(async {
        let log = Log::read(&*store).await?;
        let doubts = guard.marks(&*store, &log).await?;
        Ok((log, doubts))
    })?;
    let doubt = |noted: &Noted| doubts.get(&noted.note.number);
    let rows: Vec<Vec<String>> = log.noted().iter().map(|noted| row(noted, doubt(noted))).collect();
    let text = || output::table(&["ENTRY", "TIME", "BY", "NODE", "WHAT", "REASON"], &rows);
    let json = |noted: &Noted| {
        let mut value = serde_json::json!(noted);
        if let (Some(object), Some(doubt)) = (value.as_object_mut(), doubt(noted)) {
            object.insert("doubt".to_owned(), doubt.as_str().into());
        }
        value
    };
    Ok(output::either(global.output, text, || log.noted().iter().map(json).collect())?)
}

fn row(Noted { note, .. }: &Noted, doubt: Option<&String>) -> Vec<String> {
    let (what, reason) = match &note.entry {
        Entry::HoldPlaced { case, reason, selection } => (format!("held for {case}: {}", shown(selection)), reason),
        Entry::HoldReleased { case, reason } => (format!("released: {case}"), reason),
        Entry::Shredded { class, reason, sessions } => {
            (format!("class {class}: keys of {} sessions erased", sessions.len()), reason)
        }
        Entry::Deleted { class, reason, objects } => {
            let bytes: u64 = objects.iter().map(|object| object.bytes).sum();
            (format!("class {class}: {} objects deleted, {bytes} bytes", objects.len()), reason)
        }
    };
    let what = match doubt {
        Some(doubt) => format!("DOES NOT COUNT ({doubt}): {what}"),
        None => what,
    };
    let cells =
        [note.number.to_string(), output::time(note.time), note.by.clone(), note.node.clone(), what, reason.clone()];
    cells.iter().map(|cell| output::plain(cell)).collect()
}

/// Whose entries and checkpoints count: of the keys that are given, or else of this node alone.
fn guard(believed: &Believed, own: Option<&Notary>, config: &Config) -> Result<Guard, Failure> {
    let reading = |path: &Path| format!("reading {}", path.display());
    let line = "this node's own line of keys";
    let guard = match (&believed.keys, own) {
        (Some(path), _) => {
            let text = fs::read_to_string(path).with_context(|| reading(path))?;
            Guard::new(text.parse::<Trust>().with_context(|| reading(path))?)
        }
        (None, Some(own)) => Guard::own(own).context(line)?,
        (None, None) => Guard::own(&notary(config)?).context(line)?,
    };
    Ok(match &believed.checkpoint {
        None => guard,
        Some(path) => guard.with_kept(fs::read(path).with_context(|| reading(path))?.trim_ascii_end().to_vec()),
    })
}

/// Runs `audit retain`.
pub fn retain(config: &Config, global: &Global, asked: &Retain) -> Result<(), Failure> {
    let rules = config.archive.retention.clone();
    let notary = notary(config)?;
    let guard = guard(&asked.believed, Some(&notary), config)?;
    let guard = match &config.archive.witness {
        Some(witness) if asked.believed.checkpoint.is_none() => {
            let instead = || format!("asking the witness {}; --checkpoint FILE does without it", witness.url);
            guard.with_kept(super::audit::last_of(witness).with_context(instead)?.1)
        }
        _ => guard,
    };
    let (store, by) = (config.archive.store()?, by(&asked.signing)?);
    let retention = Retention { store, notary, guard, rules, by };
    let clock = Clock::system();
    if asked.dry_run {
        let plan = block_on(async { Ok(retention.plan(&clock).await?) })?;
        let text = || rendered(&plan, "would be").join("\n");
        return Ok(output::either(global.output, text, || serde_json::json!({"dry_run": true, "plan": plan}))?);
    }
    let outcome = block_on(async { Ok(retention.run(&clock).await?) })?;
    let text = || [rendered(&outcome.plan, "to be"), done(&outcome)].concat().join("\n");
    Ok(output::either(global.output, text, || serde_json::json!({"dry_run": false, "outcome": outcome}))?)
}

fn rendered(plan: &Plan, would_be: &str) -> Vec<String> {
    let mut lines = Vec::new();
    if plan.classes.is_empty() {
        lines.push("no class of retention is configured ([[archive.retention]]): everything is kept".to_owned());
    }
    for class in &plan.classes {
        let ClassPlan { class: name, sessions, expired, shred, delete, bytes, held, unsealed, .. } = class;
        lines.push(format!(
            "class {name}: {expired} of {sessions} sessions and single events are over; {would_be} erased: keys of {} \
             sessions, {} objects, {bytes} bytes",
            shred.len(),
            delete.len(),
        ));
        let listed = held.iter().take(LISTED);
        lines.extend(listed.map(|kept| format!("  held for {}: {}", kept.cases.join(", "), kept.session)));
        lines.extend(more(held.len()));
        if !unsealed.is_empty() {
            let why = "cannot be shredded: they were not sealed; use then = \"delete\"";
            lines.push(format!("  {} sessions {why}", unsealed.len()));
            lines.extend(unsealed.iter().take(LISTED).map(|session| format!("    {session}")));
            lines.extend(more(unsealed.len()));
        }
    }
    lines.push(format!(
        "kept: {} sessions that have not ended or are in no checkpoint yet, {} sessions and single events of no class",
        plan.open, plan.unclassed
    ));
    let Amount { objects, bytes } = plan.waiting;
    if objects > 0 {
        let why = "for sessions in them that are younger, held, or of another class";
        lines.push(format!("{objects} objects with sessions that are over wait {why}: {bytes} bytes"));
    }
    if !plan.unfinished.is_empty() {
        let what = "an entry of the custody log says that they are erased, and a run was cut short";
        lines.push(format!("{} objects and keys are there still: {what}", plan.unfinished.len()));
    }
    for Spared { name, entry, cases } in plan.kept.iter().take(LISTED) {
        lines.push(format!("{name}: entry {entry} names it, kept for {}", cases.join(", ")));
    }
    lines.extend(more(plan.kept.len()));
    for name in plan.doubted.iter().take(LISTED) {
        lines.push(format!("{name} is kept: headers of its batches are not what their events are"));
    }
    lines.extend(more(plan.doubted.len()));
    for name in plan.missing.iter().take(LISTED) {
        lines.push(format!("{name} is not there, or has another length, and no entry says why: postern audit verify"));
    }
    lines.extend(more(plan.missing.len()));
    lines.iter().map(|line| output::plain(line)).collect()
}

fn more(count: usize) -> Option<String> {
    (count > LISTED).then(|| format!("  and {} more; -o json lists all", count - LISTED))
}

/// Most sessions or objects that are listed for people.
const LISTED: usize = 20;

fn done(outcome: &Outcome) -> Vec<String> {
    let line = |made: &recorder::archive::custody::retain::Made| {
        let Amount { objects, bytes } = made.deleted;
        format!(
            "custody entry {}: class {}: keys of {} sessions erased, {objects} objects deleted, {bytes} bytes",
            made.entry, made.class, made.shredded
        )
    };
    match outcome.entries.as_slice() {
        [] => vec!["nothing was to be disposed of".to_owned()],
        entries => entries.iter().map(line).collect(),
    }
}

/// Who signs: the key of the checkpoints.
fn notary(config: &Config) -> Result<Notary, Failure> {
    Ok(Notary { signer: process::signer(&config.archive_key, &config.kms)?, node: config.node.clone() })
}

/// Who does it: the name that was given, or else the name of this process's user.
fn by(signing: &Signing) -> Result<String, Failure> {
    let name = match &signing.by {
        Some(name) => name.clone(),
        None => user().context("who does it cannot be told here; say it with --by NAME")?,
    };
    Ok(bounded("--by", &name, MAX_NAME)?)
}

fn user() -> anyhow::Result<String> {
    let status = fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next());
    let uid = uid.context("/proc/self/status names no user")?;
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(uid)).then(|| name.to_owned())
    });
    Ok(named.unwrap_or_else(|| format!("user {uid}")))
}

fn selected(asked: &HoldSelection) -> anyhow::Result<Selection> {
    let time = |name: &str, text: &Option<String>| text.as_ref().map(|text| instant(name, text)).transpose();
    let selection = Selection {
        sessions: asked.sessions.clone(),
        subjects: asked.subjects.clone(),
        identity_kind: asked.kind.map(Into::into),
        groups: asked.groups.clone(),
        issuers: asked.issuers.clone(),
        resources: asked.resources.clone(),
        from: time("--from", &asked.from)?,
        to: time("--to", &asked.to)?,
    };
    if selection.is_everything() != asked.everything {
        let what = "--session, --subject, --kind, --group, --issuer, --resource, --from, --to";
        anyhow::bail!("say what is held: by {what}, or else --everything alone");
    }
    if selection.from.zip(selection.to).is_some_and(|(from, to)| from >= to) {
        anyhow::bail!("--from is not before --to: nothing would be held");
    }
    Ok(selection)
}

fn instant(name: &str, text: &str) -> anyhow::Result<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339)
        .with_context(|| format!("{name}: {text:?} is not a time such as 2026-09-23T14:00:00Z"))?;
    i64::try_from(time.unix_timestamp_nanos() / 1_000).with_context(|| format!("{name}: {text:?} is too far away"))
}

fn named(case: &str) -> anyhow::Result<String> {
    bounded("the case", case, MAX_NAME)
}

fn told(reason: &str) -> anyhow::Result<String> {
    bounded("--reason", reason, MAX_REASON)
}

fn bounded(what: &str, text: &str, limit: usize) -> anyhow::Result<String> {
    let text = text.trim();
    if text.is_empty() || text.len() > limit || text.chars().any(char::is_control) {
        anyhow::bail!("{what} must be 1 to {limit} bytes of text in one line");
    }
    Ok(text.to_owned())
}

/// Bytes of a case's name, and of who does it.
const MAX_NAME: usize = 200;
const MAX_REASON: usize = 2_000;

/// What a hold keeps, for people.
fn shown(selection: &Selection) -> String {
    let Selection { sessions, subjects, identity_kind, groups, issuers, resources, from, to } = selection;
    let sessions: Vec<String> = sessions.iter().map(ToString::to_string).collect();
    let lists = [
        ("session", &sessions),
        ("subject", subjects),
        ("group", groups),
        ("issuer", issuers),
        ("resource", resources),
    ];
    let listed = lists.into_iter().filter(|(_, values)| !values.is_empty());
    let mut parts: Vec<String> = listed.map(|(what, values)| format!("{what} {}", values.join(" or "))).collect();
    parts.extend(identity_kind.map(|kind| format!("{kind:?}").to_lowercase()));
    parts.extend(from.map(|time| format!("from {}", output::time(time))));
    parts.extend(to.map(|time| format!("to {}", output::time(time))));
    if parts.is_empty() { "everything".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    //! What a hold is told to keep, and what is refused.
    use super::*;

    fn asked() -> HoldSelection {
        HoldSelection {
            sessions: vec![],
            subjects: vec![],
            kind: None,
            groups: vec![],
            issuers: vec![],
            resources: vec![],
            from: None,
            to: None,
            everything: false,
        }
    }

    #[test]
    fn a_hold_says_what_it_keeps() {
        assert!(selected(&asked()).is_err(), "nothing was said");
        let everything = HoldSelection { everything: true, ..asked() };
        assert_eq!(shown(&selected(&everything).unwrap()), "everything");
        assert!(selected(&HoldSelection { subjects: vec!["a".into()], ..everything }).is_err(), "both");
        let (from, to) = (Some("2026-09-23T00:00:00Z".to_owned()), Some("2026-09-24T00:00:00+02:00".to_owned()));
        let selection = selected(&HoldSelection {
            subjects: vec!["a".into(), "b".into()],
            from: from.clone(),
            to: to.clone(),
            ..asked()
        });
        let text = "subject a or b, from 2026-09-23T00:00:00Z, to 2026-09-23T22:00:00Z";
        assert_eq!(shown(&selection.unwrap()), text);
        assert!(selected(&HoldSelection { from: to, to: from, ..asked() }).is_err(), "it ends before it begins");
        assert!(selected(&HoldSelection { from: Some("yesterday".into()), ..asked() }).is_err());
    }

    #[test]
    fn names_and_reasons_are_one_line() {
        assert_eq!(named(" case 7 ").unwrap(), "case 7");
        for text in ["", " ", "a\nb", &"x".repeat(201)] {
            assert!(named(text).is_err(), "{text:?}");
        }
        assert!(!user().unwrap().is_empty());
    }
}
