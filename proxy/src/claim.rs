//! What the `user` of a startup packet may say.
//!
//! Who somebody is, says the token; as which role a session runs, the resource. So the name gives nothing, and clients
//! that send the name of their operating system's user, or any other, are served. A name that is a role of the database
//! is more than a name: its sender means to work with that role's rights, and a session that silently ran with others
//! would mislead it and whoever reads the record. So it is refused, unless it is the role that sessions of the resource
//! run as, the identity's own name, or one of the resource's `users`.

use crate::resource::Resource;
use schemas::Identity;

/// The error of a claim, and the hint.
pub(crate) struct Refused {
    pub(crate) reason: String,
    pub(crate) hint: String,
}

/// Why an identity may not open a session under the name `user`; none where it may.
pub(crate) fn refused(user: &str, identity: &Identity, resource: &Resource) -> Option<Refused> {
    let own =
        user == resource.database.user || user == identity.subject || resource.users.iter().any(|one| one == user);
    if own || !resource.is_role(user) {
        return None;
    }
    let reason = format!("{user:?} is a role of the database that sessions of this resource do not run as");
    let hint = format!(
        "give {:?} or another name that is no role as the user: who you are, says the token, and the role is the gate's",
        identity.subject
    );
    Some(Refused { reason, hint })
}

/// The statement that reads the names of the database's roles.
pub(crate) const ROLES: &str = "SELECT rolname::text FROM pg_catalog.pg_roles";
