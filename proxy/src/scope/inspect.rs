//! What there is of leased roles and scope roles, for `postern doctor`: looked at, not changed.

use super::{Config, Error, admin::Admin, grants, names, secret};
use names::Owner;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Leased roles of nodes that live.
    pub used: usize,
    /// Leased roles of this database whose node is gone, and of databases that are gone themselves.
    pub left: Vec<String>,
    /// Scope roles that do not hold what they were made with.
    pub drifted: Vec<String>,
    /// Why no role can be leased, where that is so.
    pub incapable: Option<&'static str>,
}

/// Looks.
///
/// # Errors
/// [`Error`]; a standby is none.
pub async fn inspect(config: &Config) -> Result<Inspection, Error> {
    let random = secret::random::<8>().map_err(Error::Random)?;
    let mut admin = match Admin::open(&config.admin, Owner::new(u64::from_be_bytes(random))).await {
        Ok(admin) => admin,
        Err(Error::Standby) => {
            let incapable = Some("the database is a standby");
            return Ok(Inspection { incapable, ..Inspection::default() });
        }
        Err(error) => return Err(error),
    };
    let roles = admin.leases().await?;
    let owners = admin.owners().await?;
    let databases = admin.databases().await?;
    let mut inspection = Inspection::default();
    for (role, _) in roles {
        match names::parse(&role) {
            Some((database, owner)) if database == admin.database && owners.contains(&owner) => inspection.used += 1,
            // also of a database that was dropped
            Some((database, _)) if database == admin.database || !databases.contains(&database) => {
                inspection.left.push(role);
            }
            _ => {}
        }
    }
    inspection.drifted = grants::drifted(&mut admin).await?;
    let may = "SELECT (rolcreaterole OR rolsuper)::text FROM pg_catalog.pg_roles WHERE rolname = current_user";
    let answers = admin.ask("reading the rights of the gate's role", may).await?;
    if answers.first().and_then(|rows| rows.first()?.first()?.as_deref()) != Some("true") {
        inspection.incapable = Some("the role that makes roles has no CREATEROLE");
    }
    Ok(inspection)
}
