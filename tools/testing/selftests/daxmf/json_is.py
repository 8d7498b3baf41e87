# SPDX-License-Identifier: GPL-2.0
"""usage: json_is.py COMMAND

Check that each line of standard input is JSON that matches the schema of "daxmf COMMAND", without
properties that the schema does not name."""

import json
import sys

import jsonschema


def close(schema):
    """Refuse properties that the schema does not name."""
    for part in schema.values() if isinstance(schema, dict) else schema:
        if isinstance(part, (dict, list)):
            close(part)
    if isinstance(schema, dict) and "properties" in schema and schema.get("type") == "object":
        schema["additionalProperties"] = False


with open("/daxmf/tools/daxmf/daxmf.schema.json", encoding="utf-8") as file:
    SCHEMA = json.load(file)
jsonschema.Draft202012Validator.check_schema(SCHEMA)
close(SCHEMA["$defs"])
CHECK = jsonschema.Draft202012Validator({"$ref": f"#/$defs/{sys.argv[1]}", "$defs": SCHEMA["$defs"]})

lines = list(sys.stdin)
if not lines:
    sys.exit("there is no output")
for line in lines:
    CHECK.validate(json.loads(line))
