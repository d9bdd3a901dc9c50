"""Witness: the vendor's API schema judges every request that castle sends.

usage: pve_schema_witness.py PATH_OF_PROOFS PATH_OF_SCHEMA

`proofs journal` prints the requests of a create, a no-op, a destroy and another
no-op as JSON lines. Each is looked up in the schema: the path and the method must
exist and accept a token, every parameter must exist, have the right type and
range, and every required one must be there. Without the schema file the witness
is skipped by name.
"""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys

PAIR = re.compile(r'([\w-]+)=("(?:\\.|[^"\\])*"|\S*)(?: |$)')
INDEXED = re.compile(r"^([a-z]+)\d+$")


def methods(nodes, found=None):
    """Every method of the schema tree: [(path segments, {verb: method})]."""
    found = [] if found is None else found
    for node in nodes:
        if "info" in node:
            found.append((node["path"].strip("/").split("/"), node["info"]))
        methods(node.get("children", []), found)
    return found


def lookup(table, path, verb):
    """The method for a concrete path, and what its placeholders stand for."""
    wanted = path.removeprefix("/api2/json").strip("/").split("/")
    best = None
    for segments, info in table:
        if len(segments) != len(wanted) or verb not in info:
            continue
        bound = {}
        for pattern, value in zip(segments, wanted):
            if pattern.startswith("{"):
                bound[pattern.strip("{}")] = value
            elif pattern != value:
                break
        else:
            if best is None or len(bound) < len(best[1]):
                best = (info[verb], bound)
    return best


def complaint(name, value, rule):
    """What is wrong with a value, or None."""
    kind = rule.get("type", "string")
    if kind == "boolean":
        return None if value in ("0", "1") else f"{name}={value!r} is no boolean"
    if kind in ("integer", "number"):
        try:
            number = float(value) if kind == "number" else int(value)
        except ValueError:
            return f"{name}={value!r} is no {kind}"
        if number < rule.get("minimum", number) or number > rule.get("maximum", number):
            return f"{name}={value} is out of range"
        return None
    if "enum" in rule and value not in rule["enum"]:
        return f"{name}={value!r} is not among {rule['enum'][:8]}"
    if len(value) > rule.get("maxLength", len(value)):
        return f"{name} is longer than {rule['maxLength']}"
    if "pattern" in rule and not re.fullmatch(rule["pattern"].replace("(?^:", "(?:"), value):
        return f"{name}={value!r} does not match {rule['pattern']}"
    if isinstance(rule.get("format"), dict):
        return property_string(name, value, rule["format"])
    return None


def property_string(name, value, keys):
    """A `k=v,k=v` value against its key table."""
    default = next((key for key, rule in keys.items() if rule.get("default_key")), None)
    given = {}
    for index, part in enumerate(value.split(",")):
        key, has_value, content = part.partition("=")
        if not has_value:
            if index or default is None:
                return f"{name}: {part!r} has no key"
            key, content = default, part
        rule = keys.get(key)
        if rule is None:
            return f"{name}: no key {key!r}"
        # `virtio=MAC` says two things: the model is virtio, the address is MAC.
        if "keyAlias" in rule:
            given[rule["keyAlias"]] = key
        key = rule.get("alias", key)
        given[key] = content
        if bad := complaint(f"{name}.{key}", content, keys[key]):
            return bad
    missing = [key for key, rule in keys.items() if not rule.get("optional") and "alias" not in rule and key not in given]
    return f"{name}: {missing} missing" if missing else None


def judge(table, entry):
    """Everything that is wrong with one request."""
    found = lookup(table, entry["path"], entry["method"])
    if found is None:
        return [f"{entry['method']} {entry['path']} does not exist"]
    method, bound = found
    wrong = [] if method.get("allowtoken", 1) else ["it accepts no token"]
    rules = method.get("parameters", {}).get("properties", {})
    given = {name: json.loads(text) if text.startswith('"') else text for name, text in PAIR.findall(entry["detail"])}
    given.update(bound)
    for name, value in given.items():
        stem = INDEXED.match(name)
        rule = rules.get(name) or (stem and rules.get(stem.group(1) + "[n]"))
        if not rule:
            wrong.append(f"no parameter {name!r}")
        elif found := complaint(name, value, rule):
            wrong.append(found)
    for name, rule in rules.items():
        if not rule.get("optional") and name not in given and not name.endswith("[n]"):
            wrong.append(f"{name} is missing")
    return wrong


def main() -> int:
    proofs, schema = sys.argv[1], pathlib.Path(sys.argv[2])
    if not schema.is_file():
        print("witness pve-schema passed=0 failed=0 skipped=1")
        return 0
    table = methods(json.loads(schema.read_text()))
    journal = subprocess.run([proofs, "journal"], check=True, capture_output=True, text=True).stdout
    passed = failed = 0
    kinds = set()
    for line in journal.splitlines():
        entry = json.loads(line)
        wrong = judge(table, entry)
        kinds.add(entry["kind"])
        if wrong:
            failed += 1
            print(f"  {entry['kind']} {entry['detail'][:120]}: {'; '.join(wrong)}", file=sys.stderr)
        else:
            passed += 1
    broken = dict(json.loads(journal.splitlines()[0]), detail="no-such-parameter=1")
    refuted = "yes" if judge(table, broken) else "no"
    print(f"witness pve-schema passed={passed} failed={failed} skipped=0 kinds={len(kinds)} refuted={refuted}")
    return 0 if not failed and passed and refuted == "yes" else 1


if __name__ == "__main__":
    sys.exit(main())
