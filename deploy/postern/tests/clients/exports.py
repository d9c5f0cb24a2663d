"""Reads what the gate archives and exports with other people's tools: fastavro, pyarrow, DuckDB, OCSF's own schema.

    exports.py DIR        DIR/archive, DIR/bundle.zip, DIR/events.jsonl (all events), DIR/expected.json

Ends with status 1 and a traceback at the first thing that is not as it must be; otherwise it says what was read.
"""
from __future__ import annotations

import base64
import copy
import csv
import io
import json
import pathlib
import sys
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import duckdb
import fastavro
import jsonschema
import ocsf_json_schema
import pyarrow
import pyarrow.parquet

STATEMENT_PARTS = {"Verdict": "verdict", "Held": "held", "HoldEnded": "hold_ended", "Completed": "completed"}
# as docs/evidence.md has it
QUESTION = """
    SELECT subject, number, c.masked
    FROM (SELECT subject, number, outcome, unnest(columns) AS c FROM '{table}')
    WHERE c.name LIKE '%.card_number' AND c.usage = 'projected' AND outcome = 'succeeded'
    ORDER BY ALL
"""
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def main(folder: pathlib.Path) -> None:
    archived = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    expected = json.loads((folder / "expected.json").read_text())
    objects = sorted((folder / "archive/data").glob("*/*.avro"))
    read = [record for one in objects for record in records(one.read_bytes())]
    same("events of the archive", by_place(read), by_place(archived))
    same("events that audit verify counts", len(read), expected["events"])

    with zipfile.ZipFile(folder / "bundle.zip") as bundle:
        files = {name: bundle.read(name) for name in bundle.namelist()}
    lines = [json.loads(line) for line in files["events.jsonl"].splitlines()]
    avro = [name for name in files if name.endswith(".avro")]
    proved = [record for name in avro for record in records(files[name])]
    same("events of the bundle", by_place(proved), by_place(lines))

    statements = list(stated(lines))
    rows = table(files["statements.parquet"], statements)
    answered(folder, files["statements.parquet"], rows, expected["readers"])
    kinds = siem(files["ocsf.jsonl"], statements, expected["activities"])
    cells = spreadsheet(files["statements.csv"], rows)
    for name in ("statements.parquet", "ocsf.jsonl", "statements.csv"):
        text = json.dumps(rows, default=str) if name.endswith("parquet") else files[name].decode()
        for secret in expected["secrets"]:
            assert secret not in text, f"{secret} in {name}"
    print(f"{len(read)} events in {len(objects)} objects, {len(proved)} in the bundle, {len(rows)} statements, "
          f"{kinds} changed OCSF events refused, {cells} cells guarded")


def same(what: str, one: Any, other: Any) -> None:
    if one != other:
        if isinstance(one, dict) and isinstance(other, dict):
            places = [place for place in one.keys() | other.keys() if one.get(place) != other.get(place)]
            one, other = ({place: some.get(place) for place in places[:2]} for some in (one, other))
        raise AssertionError(f"{what} differ:\n{one}\n{other}")


# ----------------------------------------------------------------------------------------------------------------- Avro


def records(data: bytes) -> list[Any]:
    """The records of an Object Container File, spelled as the gate spells events in JSON."""
    reader = fastavro.reader(io.BytesIO(data), return_record_name=True, return_record_name_override=True)
    return [event(record) for record in reader]


def event(record: dict[str, Any]) -> dict[str, Any]:
    name, body = record["body"]
    session = f"ses_{record['session'].hex()}"
    return record | {"session": session, "body": {name.rpartition(".")[2]: plain(body)}}


def plain(value: Any) -> Any:
    match value:
        case dict():
            return {name: plain(one) for name, one in value.items()}
        case list():
            return [plain(one) for one in value]
        case bytes():
            return base64.b64encode(value).decode()
    return value


def by_place(events: list[Any]) -> dict[tuple[str, int], Any]:
    places = {(one["session"], one["sequence"]): one for one in events}
    same("places of events", len(places), len(events))
    return places


# -------------------------------------------------------------------------------------------------------------- Parquet


def listed(*fields: tuple[str, pyarrow.DataType]) -> pyarrow.DataType:
    if not fields:
        return pyarrow.list_(pyarrow.field("element", pyarrow.string()))
    return pyarrow.list_(pyarrow.field("element", pyarrow.struct(fields), nullable=False))


def schema() -> pyarrow.Schema:
    """The table as docs/evidence.md has it."""
    text, number, flag, texts = pyarrow.string(), pyarrow.int64(), pyarrow.bool_(), listed()
    needed = {"session", "number", "statement", "time", "protocol", "text_codec"}
    columns = {
        "session": text, "number": number, "statement": text, "time": pyarrow.timestamp("us", tz="UTC"),
        "subject": text, "issuer": text, "identity_kind": text, "identity_name": text, "groups": texts,
        "on_behalf_of": texts, "task": text, "resource": text, "database": text, "role": text, "node": text,
        "peer": text, "application": text, "protocol": text, "text": text, "text_codec": text, "parameters": texts,
        "kind": text, "read_only": flag, "opaque": flag, "verdict": text, "reason": text, "policies": texts,
        "policy_version": text, "relations": listed(("name", text), ("action", text), ("indirect", flag)),
        "columns": listed(("name", text), ("usage", text), ("masked", flag), ("label", text)),
        "functions": texts, "flags": texts, "fingerprint": text, "hold": text, "hold_outcome": text,
        "reviews": listed(("subject", text), ("issuer", text), ("approved", flag), ("reason", text)),
        "outcome": text, "sqlstate": text, "tag": text, "rows": number, "bytes": number, "duration_us": number,
        "found": listed(("detector", text), ("column", text), ("values", number)),
    }
    lists = {name for name, kind in columns.items() if pyarrow.types.is_list(kind)}
    return pyarrow.schema([pyarrow.field(n, k, nullable=n not in needed | lists) for n, k in columns.items()])


def stated(events: list[Any]) -> Iterator[dict[str, Any]]:
    """Each statement with what belongs to it, by session and number."""
    statements: dict[tuple[str, int], dict[str, Any]] = {}
    opened: dict[str, Any] = {}
    for one in sorted(events, key=lambda one: (one["session"], one["sequence"])):
        (name, body), = one["body"].items()
        place = (one["session"], body.get("number"))
        if name == "SessionOpened":
            opened[one["session"]] = body
        elif name == "Statement":
            begun = {"session": one["session"], "time": one["time"], "opened": opened.get(one["session"], {})}
            statements[place] = begun | {"statement": body, "reviews": []}
        elif name in STATEMENT_PARTS and place in statements:
            statements[place][STATEMENT_PARTS[name]] = body
        elif name == "Reviewed" and place in statements:
            statements[place]["reviews"].append(body)
    yield from statements.values()


def wanted(one: dict[str, Any]) -> dict[str, Any]:
    """The row that a statement must have, from its events."""
    opened, statement, verdict = one["opened"], one["statement"], one.get("verdict", {})
    identity, completed = opened.get("identity", {}), one.get("completed", {})
    parameters = statement["parameters"]
    return {
        "session": one["session"], "number": statement["number"],
        "statement": f"stm_{one['session'].removeprefix('ses_')}_{statement['number']}",
        "time": datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=one["time"]),
        "subject": identity.get("subject"), "issuer": identity.get("issuer"), "identity_kind": identity.get("kind"),
        "identity_name": identity.get("name"), "groups": identity.get("groups", []),
        "on_behalf_of": identity.get("on_behalf_of", []), "task": identity.get("task"),
        **{name: opened.get(name) for name in ("resource", "database", "role", "node", "peer")},
        "application": opened.get("parameters", {}).get("application_name"),
        "protocol": statement["protocol"], "text": base64.b64decode(statement["text"]["bytes"]).decode(),
        "text_codec": statement["text"]["codec"],
        "parameters": bound(base64.b64decode(parameters["bytes"])) if parameters else [],
        **{name: verdict.get(name) for name in ("kind", "read_only", "opaque", "verdict", "policy_version")},
        "reason": verdict.get("reason") or None, "fingerprint": verdict.get("fingerprint") or None,
        **{name: verdict.get(name, []) for name in ("policies", "columns", "functions", "flags")},
        "relations": [
            {"name": relation["name"], "action": action, "indirect": relation["indirect"]}
            for relation in verdict.get("relations", []) for action in relation["actions"] or [None]
        ],
        "hold": one.get("held", {}).get("request"), "hold_outcome": one.get("hold_ended", {}).get("outcome"),
        "reviews": [
            {name: (review["reviewer"] or {}).get(name) for name in ("subject", "issuer")}
            | {name: review[name] for name in ("approved", "reason")} for review in one["reviews"]
        ],
        **{name: completed.get(name) for name in ("outcome", "sqlstate", "rows", "bytes")},
        "tag": completed.get("tag") or None, "duration_us": completed.get("duration"),
        "found": completed.get("found", []),
    }


def bound(message: bytes) -> list[str | None]:
    """The values in a Bind message's tail, which are text here."""
    formats = int.from_bytes(message[:2])
    at, values = 2 + 2 * formats, []
    count, at = int.from_bytes(message[at : at + 2]), at + 2
    for _ in range(count):
        length, at = int.from_bytes(message[at : at + 4], signed=True), at + 4
        values.append(None if length < 0 else message[at : at + length].decode())
        at += max(length, 0)
    return values


def table(data: bytes, statements: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, which are those that the events lead to."""
    file = pyarrow.parquet.ParquetFile(io.BytesIO(data))
    assert file.schema_arrow.equals(schema()), f"the table is\n{file.schema_arrow}\nand not\n{schema()}"
    rows = file.read().to_pylist()
    same("numbers of rows and statements", len(rows), len(statements))
    for row, one in zip(rows, statements):
        same("rows", row, wanted(one))
    return rows


def answered(folder: pathlib.Path, data: bytes, rows: list[dict[str, Any]], readers: list[Any]) -> None:
    """Who read card_number, masked or clear: by DuckDB, and by hand from what pyarrow read."""
    path = folder / "statements.parquet"
    path.write_bytes(data)
    duck = [list(row) for row in duckdb.connect().execute(QUESTION.format(table=path)).fetchall()]
    same("DuckDB's answer and what happened", duck, readers)
    by_hand = sorted(
        [row["subject"], row["number"], column["masked"]] for row in rows for column in row["columns"]
        if column["name"].endswith(".card_number") and column["usage"] == "projected" and row["outcome"] == "succeeded"
    )
    same("pyarrow's answer and what happened", by_hand, readers)
    columns = [row[:2] for row in duckdb.connect().execute(f"DESCRIBE SELECT * FROM '{path}'").fetchall()]
    named = dict(columns)
    same("DuckDB's type of time", named["time"], "TIMESTAMP WITH TIME ZONE")
    assert named["columns"].startswith("STRUCT(") and named["columns"].endswith("[]"), named["columns"]
    counted = duckdb.connect().execute(f"SELECT count(*), sum(rows), max(number) FROM '{path}'").fetchone()
    same("DuckDB's sums", counted, (len(rows), sum(r["rows"] or 0 for r in rows), max(r["number"] for r in rows)))


# ----------------------------------------------------------------------------------------------------------------- OCSF


def ocsf(version: str) -> tuple[Any, dict[str, Any]]:
    """A validator for the class, made of OCSF's own schema; and the class as that schema has it."""
    source = ocsf_json_schema.get_ocsf_schema(version)
    maker = ocsf_json_schema.OcsfJsonSchemaEmbedded(source)
    made = maker.get_class_schema("datastore_activity", ["security_control"])
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made), source["classes"]["datastore_activity"]


# of what OCSF recommends: what a database has not, and what not every statement has
SOMETIMES = {"databucket", "http_request", "http_response", "table", "status_code", "status_detail"}


def siem(data: bytes, statements: list[dict[str, Any]], activities: list[Any]) -> int:
    """Every event holds under the schema, and none of its changes does; gives how many changes were refused."""
    events = [json.loads(line) for line in data.splitlines()]
    validator, class_ = ocsf("1.5.0")
    later = [ocsf(version)[0] for version in ("1.6.0", "1.7.0", "1.8.0")]
    for one in events:
        for check in (validator, *later):
            problems = [f"{list(e.absolute_path)}: {e.message}" for e in check.iter_errors(one)]
            assert not problems, (problems, one)
        captions(class_, one)
        same("type_uid", one["type_uid"], one["class_uid"] * 100 + one["activity_id"])
        same("version", one["metadata"]["version"], "1.5.0")
        attributes = class_["attributes"].items()
        recommended = {n for n, a in attributes if a["requirement"] == "recommended" and not a.get("profile")}
        missing = recommended - one.keys() - SOMETIMES
        assert not missing, missing
    same("statements", [one["metadata"]["uid"] for one in events], [wanted(one)["statement"] for one in statements])
    told = [[one["actor"]["user"]["uid"], one["activity_name"], one["action"], one["disposition"], one["status"],
             one.get("status_code")] for one in events]
    same("activities", told, activities)
    refused = 0
    for one in events:
        for what, changed in changes(one, validator.schema["required"]):
            assert not validator.is_valid(changed), f"{what} is taken: {changed}"
            refused += 1
    return refused


def captions(class_: dict[str, Any], one: dict[str, Any]) -> None:
    """Each number has the caption that the schema gives it, but for Other, which the source names."""
    for name, attribute in class_["attributes"].items():
        choice = (attribute.get("enum") or {}).get(str(one.get(name)))
        sibling = attribute.get("sibling")
        if choice and sibling and sibling in one and one[name] != 99:
            same(f"{name} and {sibling}", one[sibling], choice["caption"])


ENUMERATED = (
    "activity_id", "category_uid", "class_uid", "type_uid", "severity_id", "status_id", "action_id", "disposition_id",
    "type_id",
)


def changes(one: dict[str, Any], required: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The event with one thing wrong: something required is missing, of another type, of no known value, or unknown."""
    def changed(path: list[Any], act: Callable[[Any, Any], None]) -> dict[str, Any]:
        other = copy.deepcopy(one)
        place = other
        for step in path[:-1]:
            place = place[step]
        act(place, path[-1])
        return other

    def remove(place: Any, name: Any) -> None:
        del place[name]

    def put(value: Any) -> Callable[[Any, Any], None]:
        return lambda place, name: place.__setitem__(name, value)

    needed = [[name] for name in required]
    needed += [["metadata", "version"], ["metadata", "product"]]
    needed += [["database", "type_id"], ["query_info", "query_string"]]
    for path in needed:
        yield f"without {path}", changed(path, remove)
    for name in ENUMERATED:
        yield f"{name} 4711", changed([name], put(4711))
    for path, value in walk(one, []):
        if isinstance(value, dict):
            yield f"an unknown attribute in {path}", changed([*path, "no_such_attribute"], put(1))
        elif isinstance(value, (str, int)):
            yield f"{path} of another type", changed(path, put({"another": "type"}))
            yield f"{path} of another type", changed(path, put([value]))


def walk(value: Any, path: list[Any]) -> Iterator[tuple[list[Any], Any]]:
    yield path, value
    if isinstance(value, dict):
        for name, inner in value.items():
            # this one object may hold anything
            if name != "unmapped":
                yield from walk(inner, [*path, name])
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from walk(inner, [*path, number])


# ------------------------------------------------------------------------------------------------------------------ CSV


def spreadsheet(data: bytes, rows: list[dict[str, Any]]) -> int:
    """The table for spreadsheets has the same statements, and no cell that they would run; gives how many it guards."""
    read = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    same("rows", len(read), len(rows))
    guarded = 0
    for line, row in zip(read, rows):
        for cell in line.values():
            assert not cell.lstrip().startswith(FORMULA), f"a formula: {cell!r}"
        texts = {"text": row["text"], "parameters": " ".join("NULL" if p is None else p for p in row["parameters"])}
        for name, value in texts.items():
            risky = value.lstrip().startswith(FORMULA)
            same(name, line[name], f"'{value}" if risky else value)
            guarded += risky
        same("session and number", (line["session"], line["number"]), (row["session"], str(row["number"])))
        same("rows", line["rows"], str(row["rows"] or 0))
    return guarded


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
