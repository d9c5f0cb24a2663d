//! Objects by their kind: which relation a name means, and the words of a command tag.

use super::{Done, Walker, names, nodes::any_node};
use crate::sql::facts::Action;
use pg_query::{Node, NodeEnum, protobuf::ObjectType};

impl Walker<'_> {
    /// An object that is named by a list of strings: noted where it is a relation or belongs to one.
    pub(super) fn object(&mut self, kind: ObjectType, object: Option<&Node>, action: Action) {
        let Some(NodeEnum::List(list)) = object.and_then(|object| object.node.as_ref()) else { return };
        let owner = list.items.len().saturating_sub(1);
        let (names, action) = match kind {
            ObjectType::ObjectTable
            | ObjectType::ObjectView
            | ObjectType::ObjectMatview
            | ObjectType::ObjectForeignTable
            | ObjectType::ObjectSequence
            | ObjectType::ObjectIndex => (list.items.as_slice(), action),
            // the last string is the part's own name
            ObjectType::ObjectColumn
            | ObjectType::ObjectTabconstraint
            | ObjectType::ObjectTrigger
            | ObjectType::ObjectRule
            | ObjectType::ObjectPolicy => (list.items.get(..owner).unwrap_or_default(), Action::Alter),
            // no relation: the statement's kind says all
            ObjectType::ObjectAccessMethod
            | ObjectType::ObjectAggregate
            | ObjectType::ObjectAmop
            | ObjectType::ObjectAmproc
            | ObjectType::ObjectAttribute
            | ObjectType::ObjectCast
            | ObjectType::ObjectCollation
            | ObjectType::ObjectConversion
            | ObjectType::ObjectDatabase
            | ObjectType::ObjectDefault
            | ObjectType::ObjectDefacl
            | ObjectType::ObjectDomain
            | ObjectType::ObjectDomconstraint
            | ObjectType::ObjectEventTrigger
            | ObjectType::ObjectExtension
            | ObjectType::ObjectFdw
            | ObjectType::ObjectForeignServer
            | ObjectType::ObjectFunction
            | ObjectType::ObjectLanguage
            | ObjectType::ObjectLargeobject
            | ObjectType::ObjectOpclass
            | ObjectType::ObjectOperator
            | ObjectType::ObjectOpfamily
            | ObjectType::ObjectParameterAcl
            | ObjectType::ObjectProcedure
            | ObjectType::ObjectPublication
            | ObjectType::ObjectPublicationNamespace
            | ObjectType::ObjectPublicationRel
            | ObjectType::ObjectRole
            | ObjectType::ObjectRoutine
            | ObjectType::ObjectSchema
            | ObjectType::ObjectSubscription
            | ObjectType::ObjectStatisticExt
            | ObjectType::ObjectTablespace
            | ObjectType::ObjectTransform
            | ObjectType::ObjectTsconfiguration
            | ObjectType::ObjectTsdictionary
            | ObjectType::ObjectTsparser
            | ObjectType::ObjectTstemplate
            | ObjectType::ObjectType
            | ObjectType::ObjectUserMapping => return,
            ObjectType::Undefined => return self.give_up("an object of a kind that is not known"),
        };
        self.touch_named(&names::range_var(names), action);
    }

    /// A statement whose tag is a verb and a kind of object.
    pub(super) fn act_on(&mut self, verb: &str, kind: ObjectType) -> Done {
        match object_name(kind) {
            Some(name) => self.act(format!("{verb} {name}")),
            None => self.opaque("UNKNOWN", "an object of a kind that is not known"),
        }
    }
}

pub(super) fn named(parts: &[Node]) -> String {
    let (schema, name) = names::split(parts);
    names::qualified(schema, name)
}

/// The words of a command tag for a kind of object; `None` where the tree names none.
fn object_name(kind: ObjectType) -> Option<&'static str> {
    Some(match kind {
        ObjectType::ObjectAccessMethod => "ACCESS METHOD",
        ObjectType::ObjectAggregate => "AGGREGATE",
        ObjectType::ObjectAmop => "AMOP",
        ObjectType::ObjectAmproc => "AMPROC",
        ObjectType::ObjectAttribute | ObjectType::ObjectType => "TYPE",
        ObjectType::ObjectCast => "CAST",
        ObjectType::ObjectColumn | ObjectType::ObjectTabconstraint | ObjectType::ObjectTable => "TABLE",
        ObjectType::ObjectCollation => "COLLATION",
        ObjectType::ObjectConversion => "CONVERSION",
        ObjectType::ObjectDatabase => "DATABASE",
        ObjectType::ObjectDefault => "DEFAULT",
        ObjectType::ObjectDefacl => "DEFACL",
        ObjectType::ObjectDomain => "DOMAIN",
        ObjectType::ObjectDomconstraint => "DOMCONSTRAINT",
        ObjectType::ObjectEventTrigger => "EVENT TRIGGER",
        ObjectType::ObjectExtension => "EXTENSION",
        ObjectType::ObjectFdw => "FOREIGN DATA WRAPPER",
        ObjectType::ObjectForeignServer => "SERVER",
        ObjectType::ObjectForeignTable => "FOREIGN TABLE",
        ObjectType::ObjectFunction => "FUNCTION",
        ObjectType::ObjectIndex => "INDEX",
        ObjectType::ObjectLanguage => "LANGUAGE",
        ObjectType::ObjectLargeobject => "LARGEOBJECT",
        ObjectType::ObjectMatview => "MATERIALIZED VIEW",
        ObjectType::ObjectOpclass => "OPERATOR CLASS",
        ObjectType::ObjectOperator => "OPERATOR",
        ObjectType::ObjectOpfamily => "OPERATOR FAMILY",
        ObjectType::ObjectParameterAcl => "PARAMETER ACL",
        ObjectType::ObjectPolicy => "POLICY",
        ObjectType::ObjectProcedure => "PROCEDURE",
        ObjectType::ObjectPublication => "PUBLICATION",
        ObjectType::ObjectPublicationNamespace => "PUBLICATION NAMESPACE",
        ObjectType::ObjectPublicationRel => "PUBLICATION REL",
        ObjectType::ObjectRole => "ROLE",
        ObjectType::ObjectRoutine => "ROUTINE",
        ObjectType::ObjectRule => "RULE",
        ObjectType::ObjectSchema => "SCHEMA",
        ObjectType::ObjectSequence => "SEQUENCE",
        ObjectType::ObjectSubscription => "SUBSCRIPTION",
        ObjectType::ObjectStatisticExt => "STATISTICS",
        ObjectType::ObjectTablespace => "TABLESPACE",
        ObjectType::ObjectTransform => "TRANSFORM",
        ObjectType::ObjectTrigger => "TRIGGER",
        ObjectType::ObjectTsconfiguration => "TEXT SEARCH CONFIGURATION",
        ObjectType::ObjectTsdictionary => "TEXT SEARCH DICTIONARY",
        ObjectType::ObjectTsparser => "TEXT SEARCH PARSER",
        ObjectType::ObjectTstemplate => "TEXT SEARCH TEMPLATE",
        ObjectType::ObjectUserMapping => "USER MAPPING",
        ObjectType::ObjectView => "VIEW",
        ObjectType::Undefined => return None,
    })
}

/// Statements that concern no relation: their command tag; `None` for any other node.
pub(super) fn plain(kind: &NodeEnum) -> Option<String> {
    let name = match kind {
        NodeEnum::DefineStmt(part) => return object_name(part.kind()).map(|name| format!("CREATE {name}")),
        NodeEnum::AlterFunctionStmt(part) => return object_name(part.objtype()).map(|name| format!("ALTER {name}")),
        NodeEnum::GrantRoleStmt(part) => {
            if part.is_grant {
                "GRANT ROLE"
            } else {
                "REVOKE ROLE"
            }
        }
        NodeEnum::AlterCollationStmt(_) => "ALTER COLLATION",
        NodeEnum::AlterDefaultPrivilegesStmt(_) => "ALTER DEFAULT PRIVILEGES",
        NodeEnum::CreateTableSpaceStmt(_) => "CREATE TABLESPACE",
        NodeEnum::DropTableSpaceStmt(_) => "DROP TABLESPACE",
        NodeEnum::AlterTableSpaceOptionsStmt(_) => "ALTER TABLESPACE",
        NodeEnum::AlterTableMoveAllStmt(_) => "ALTER TABLE ALL",
        NodeEnum::CreateExtensionStmt(_) => "CREATE EXTENSION",
        NodeEnum::AlterExtensionStmt(_) => "ALTER EXTENSION",
        NodeEnum::CreateFdwStmt(_) => "CREATE FOREIGN DATA WRAPPER",
        NodeEnum::AlterFdwStmt(_) => "ALTER FOREIGN DATA WRAPPER",
        NodeEnum::CreateForeignServerStmt(_) => "CREATE SERVER",
        NodeEnum::AlterForeignServerStmt(_) => "ALTER SERVER",
        NodeEnum::CreateUserMappingStmt(_) => "CREATE USER MAPPING",
        NodeEnum::AlterUserMappingStmt(_) => "ALTER USER MAPPING",
        NodeEnum::DropUserMappingStmt(_) => "DROP USER MAPPING",
        NodeEnum::ImportForeignSchemaStmt(_) => "IMPORT FOREIGN SCHEMA",
        NodeEnum::CreateAmStmt(_) => "CREATE ACCESS METHOD",
        NodeEnum::CreateEventTrigStmt(_) => "CREATE EVENT TRIGGER",
        NodeEnum::AlterEventTrigStmt(_) => "ALTER EVENT TRIGGER",
        NodeEnum::CreatePlangStmt(_) => "CREATE LANGUAGE",
        NodeEnum::CreateRoleStmt(_) => "CREATE ROLE",
        NodeEnum::AlterRoleStmt(_) | NodeEnum::AlterRoleSetStmt(_) => "ALTER ROLE",
        NodeEnum::DropRoleStmt(_) => "DROP ROLE",
        NodeEnum::CreateOpClassStmt(_) => "CREATE OPERATOR CLASS",
        NodeEnum::CreateOpFamilyStmt(_) => "CREATE OPERATOR FAMILY",
        NodeEnum::AlterOpFamilyStmt(_) => "ALTER OPERATOR FAMILY",
        NodeEnum::AlterOperatorStmt(_) => "ALTER OPERATOR",
        NodeEnum::AlterStatsStmt(_) => "ALTER STATISTICS",
        NodeEnum::AlterTypeStmt(_) | NodeEnum::AlterEnumStmt(_) => "ALTER TYPE",
        NodeEnum::CreatedbStmt(_) => "CREATE DATABASE",
        NodeEnum::AlterDatabaseStmt(_)
        | NodeEnum::AlterDatabaseRefreshCollStmt(_)
        | NodeEnum::AlterDatabaseSetStmt(_) => "ALTER DATABASE",
        NodeEnum::DropdbStmt(_) => "DROP DATABASE",
        NodeEnum::AlterSystemStmt(_) => "ALTER SYSTEM",
        NodeEnum::CreateConversionStmt(_) => "CREATE CONVERSION",
        NodeEnum::CreateCastStmt(_) => "CREATE CAST",
        NodeEnum::CreateTransformStmt(_) => "CREATE TRANSFORM",
        NodeEnum::DropOwnedStmt(_) => "DROP OWNED",
        NodeEnum::ReassignOwnedStmt(_) => "REASSIGN OWNED",
        NodeEnum::AlterTsdictionaryStmt(_) => "ALTER TEXT SEARCH DICTIONARY",
        NodeEnum::AlterTsconfigurationStmt(_) => "ALTER TEXT SEARCH CONFIGURATION",
        NodeEnum::CreateSubscriptionStmt(_) => "CREATE SUBSCRIPTION",
        NodeEnum::AlterSubscriptionStmt(_) => "ALTER SUBSCRIPTION",
        NodeEnum::DropSubscriptionStmt(_) => "DROP SUBSCRIPTION",
        #[allow(unreachable_patterns, reason = "the other nodes, by name")]
        any_node!() => return None,
    };
    Some(name.to_owned())
}
