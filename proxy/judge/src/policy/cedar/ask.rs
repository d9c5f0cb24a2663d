//! One question to the policies: may this subject do this to that object, now?

use super::{Reads, Set, Subject};
use cedar_policy::{
    Context as CedarContext, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request,
    RestrictedExpression as Value,
};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

/// What is acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Object<'a> {
    /// The registered database as a whole.
    Resource,
    /// A relation, as `schema.name`, and what its columns hold.
    Table {
        /// Its name.
        name: &'a str,
        /// Labels of its columns.
        labels: &'a BTreeSet<String>,
    },
    /// A column, as `schema.table.name`.
    Column {
        /// Its name.
        name: &'a str,
        /// What it holds.
        label: Option<&'a str>,
    },
    /// A function, as `schema.name`.
    Function {
        /// Its name.
        name: &'a str,
        /// It is among the functions of the config.
        listed: bool,
    },
    /// A setting.
    Setting {
        /// Its name.
        name: &'a str,
        /// Its new value, where the text has it.
        value: Option<&'a str>,
        /// The new value turns a protection off.
        meaning: bool,
    },
}

/// What the answer may depend on besides who, what and on what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Situation {
    /// See the schema.
    pub kind: String,
    /// See the schema.
    pub read_only: bool,
    /// See the schema.
    pub opaque: bool,
    /// See the schema.
    pub unbounded: bool,
    /// See the schema.
    pub copies_out: bool,
    /// See the schema.
    pub server_side: bool,
    /// See the schema.
    pub clear: BTreeSet<String>,
    /// A reviewer agreed.
    pub approved: bool,
    /// Milliseconds since 1970.
    pub now: i64,
    /// The planner's estimate of rows.
    pub rows: Option<i64>,
    /// The planner's estimate of cost.
    pub cost: Option<i64>,
}

/// What the policies say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Some policy permits it and none forbids it.
    pub allowed: bool,
    /// The ranks of the policies that decided, the first rank first. None: no policy permits it.
    pub policies: Vec<usize>,
    /// Why it could not be decided, which denies.
    pub failed: Option<String>,
    /// What the candidates read that changes by itself.
    pub reads: Reads,
}

fn split(name: &str) -> (&str, &str) {
    name.split_once('.').unwrap_or(("", name))
}

fn is_system(schema: &str) -> bool {
    matches!(schema, "pg_catalog" | "information_schema")
}

fn text(value: &str) -> Value {
    Value::new_string(value.to_owned())
}

fn texts<'a>(values: impl IntoIterator<Item = &'a String>) -> Value {
    Value::new_set(values.into_iter().map(|value| text(value)))
}

fn named<const N: usize>(pairs: [(&str, Value); N]) -> HashMap<String, Value> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

impl Set {
    /// Asks. Pure; fails closed: what cannot be asked is not allowed.
    pub fn ask(&self, subject: &Subject, action: &str, object: Object<'_>, situation: &Situation) -> Answer {
        let Some(candidates) = self.actions.get(action) else {
            return Answer { failed: Some(format!("there is no action {action}")), ..Answer::default() };
        };
        let reads = self.reads(action, subject);
        let failed = |reason: String| Answer { failed: Some(reason), reads, ..Answer::default() };
        let asked = self.request(subject, &candidates.uid, object, situation).and_then(|(request, mut entities)| {
            entities.push(candidates.entity.clone());
            let entities = Entities::from_entities(entities, None).map_err(|error| error.to_string())?;
            Ok((request, entities))
        });
        let (request, entities) = match asked {
            Ok(asked) => asked,
            Err(reason) => return failed(reason),
        };
        let response = self.authorizer.is_authorized(&request, &candidates.policies, &entities);
        if let Some(error) = response.diagnostics().errors().next() {
            return failed(error.to_string());
        }
        let mut policies: Vec<usize> =
            response.diagnostics().reason().filter_map(|id| self.ranks.get(&id.to_string()).copied()).collect();
        policies.sort_unstable();
        Answer { allowed: response.decision() == Decision::Allow, policies, failed: None, reads }
    }

    fn request(
        &self,
        subject: &Subject,
        action: &EntityUid,
        object: Object<'_>,
        situation: &Situation,
    ) -> Result<(Request, Vec<Entity>), String> {
        let principal = self.principal(subject)?;
        let (uid, mut entities) = self.object(object)?;
        let context = self.context(subject, situation)?;
        let request = Request::new(principal.uid(), action.clone(), uid, context, Some(&self.schema))
            .map_err(|error| error.to_string())?;
        entities.push(principal);
        Ok((request, entities))
    }

    fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
        EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
    }

    fn principal(&self, subject: &Subject) -> Result<Entity, String> {
        let identity = &subject.identity;
        let groups: HashSet<EntityUid> =
            identity.groups.iter().map(|group| Self::uid(&self.types.group, group)).collect();
        let mut attributes = named([
            ("subject", text(&identity.subject)),
            ("issuer", text(&identity.issuer)),
            ("name", text(&identity.name)),
            ("machine", Value::new_bool(subject.is_machine())),
            ("on_behalf_of", texts(&identity.on_behalf_of)),
        ]);
        attributes.extend(identity.task.as_ref().map(|task| ("task".to_owned(), text(task))));
        let uid = Self::uid(&self.types.identity, &identity.subject);
        Entity::new(uid, attributes, groups).map_err(|error| error.to_string())
    }

    fn whole(&self) -> EntityUid {
        Self::uid(&self.types.resource, &self.resource)
    }

    /// Within a schema within the resource; a name without a schema is within the resource alone.
    fn around(&self, schema: &str) -> HashSet<EntityUid> {
        let mut around = HashSet::from([self.whole()]);
        if !schema.is_empty() {
            around.insert(Self::uid(&self.types.schema, schema));
        }
        around
    }

    fn object(&self, object: Object<'_>) -> Result<(EntityUid, Vec<Entity>), String> {
        let (uid, attributes, around) = match object {
            Object::Resource => (self.whole(), HashMap::new(), HashSet::new()),
            Object::Table { name, labels } => {
                let (schema, last) = split(name);
                let attributes = named([
                    ("schema", text(schema)),
                    ("name", text(last)),
                    ("system", Value::new_bool(is_system(schema))),
                    ("temporary", Value::new_bool(schema == "pg_temp")),
                    ("labels", texts(labels)),
                ]);
                (Self::uid(&self.types.table, name), attributes, self.around(schema))
            }
            Object::Column { name, label } => {
                let (table, last) = name.rsplit_once('.').unwrap_or(("", name));
                let mut around = self.around(split(table).0);
                around.insert(Self::uid(&self.types.table, table));
                let mut attributes = named([("name", text(last))]);
                if let Some(label) = label {
                    attributes.insert("label".to_owned(), text(label));
                }
                (Self::uid(&self.types.column, name), attributes, around)
            }
            Object::Function { name, listed } => {
                let (schema, last) = split(name);
                let attributes = named([
                    ("schema", text(schema)),
                    ("name", text(last)),
                    ("system", Value::new_bool(is_system(schema))),
                    ("listed", Value::new_bool(listed)),
                ]);
                (Self::uid(&self.types.function, name), attributes, self.around(schema))
            }
            Object::Setting { name, value, meaning } => {
                let mut attributes = named([("meaning", Value::new_bool(meaning))]);
                if let Some(value) = value {
                    attributes.insert("value".to_owned(), text(value));
                }
                (Self::uid(&self.types.setting, name), attributes, HashSet::from([self.whole()]))
            }
        };
        let entity = Entity::new(uid.clone(), attributes, around).map_err(|error| error.to_string())?;
        Ok((uid, vec![entity]))
    }

    fn context(&self, subject: &Subject, situation: &Situation) -> Result<CedarContext, String> {
        let record = |pairs: HashMap<String, Value>| Value::new_record(pairs).map_err(|error| error.to_string());
        let now = situation.now;
        let time = named([
            ("now", Value::new_datetime(datetime(now))),
            ("hour", Value::new_long(now.rem_euclid(DAY) / 3_600_000)),
            ("minute", Value::new_long(now.rem_euclid(3_600_000) / 60_000)),
            // 1970-01-01 was a Thursday
            ("weekday", Value::new_long((now.div_euclid(DAY) + 3).rem_euclid(7) + 1)),
        ]);
        let statement = named([
            ("kind", text(&situation.kind)),
            ("read_only", Value::new_bool(situation.read_only)),
            ("opaque", Value::new_bool(situation.opaque)),
            ("unbounded", Value::new_bool(situation.unbounded)),
            ("copies_out", Value::new_bool(situation.copies_out)),
            ("server_side", Value::new_bool(situation.server_side)),
            ("clear", texts(&situation.clear)),
        ]);
        let session =
            named([("resource", text(&self.resource)), ("application_name", text(&subject.application_name))]);
        let mut all = named([
            ("time", record(time)?),
            ("statement", record(statement)?),
            ("session", record(session)?),
            ("approved", Value::new_bool(situation.approved)),
        ]);
        for (name, value) in [("estimated_rows", situation.rows), ("estimated_cost", situation.cost)] {
            if let Some(value) = value {
                all.insert(name.to_owned(), Value::new_long(value));
            }
        }
        CedarContext::from_pairs(all).map_err(|error| error.to_string())
    }
}

/// As Cedar reads it: `2026-11-21T05:50:39.120Z`.
fn datetime(now: i64) -> String {
    let (day, rest) = (now.div_euclid(DAY), now.rem_euclid(DAY));
    // days to a civil date, counted in eras of 400 years that begin in March
    let shifted = day + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * of_year + 2) / 153;
    let date = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", rest % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_cedar_reads_them() {
        assert_eq!(datetime(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(datetime(951_827_696_789), "2000-02-29T12:34:56.789Z");
        assert_eq!(datetime(1_795_240_239_120), "2026-11-21T05:50:39.120Z");
    }
}
