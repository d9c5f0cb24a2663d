#!/bin/bash
# Gives the gate's role its password, when the scratch database is made.
set -euo pipefail
psql -qX -v ON_ERROR_STOP=1 -v "password=$(cat /run/secrets/gate_password)" -U postgres -d shop <<<"alter role gate password :'password'"
