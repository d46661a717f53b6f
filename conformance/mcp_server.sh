#!/bin/sh
# Run the MCP server suite against a daemon of its own, which offers what the suite wants.
#
#   MCP_CONFORMANCE=FOLDER conformance/mcp_server.sh [OUT]
#
# FOLDER is the installed package @modelcontextprotocol/conformance; NODE is a Node of 22 or newer
# (default: node); PYTHON the environment of the daemon (default: .venv/bin/python); LEGS what is
# run: revisions, and `all` for every scenario there is, those of extensions such as tasks included
# (default: 2025-11-25 2026-07-28 all). Exit 0: nothing failed.
set -u
: "${MCP_CONFORMANCE:?set MCP_CONFORMANCE to the installed package @modelcontextprotocol/conformance}"
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-$here/../.venv/bin/python}
out=${1:-mcp-server-conformance}
mkdir -p "$out" || exit 2
out=$(cd "$out" && pwd)
data=$(mktemp -d) || exit 2

cat >"$data/config.toml" <<END
[server]
port = 0
data_dir = "$data"

[workflows]
paths = ["$here/../examples/conformance/mcp_fixtures.py"]

[publish]
workflows = ["slow_compute", "confirm_delete", "multi_input", "protocol_error_job"]
END

"$python" -m agency.daemon.main --config "$data/config.toml" >"$out/daemon.log" 2>&1 &
daemon=$!
trap 'kill "$daemon" 2>/dev/null; wait "$daemon" 2>/dev/null; rm -rf "$data"' EXIT
trap 'exit 130' INT TERM

# The line that says that it is ready has the address.
address=
tries=0
while [ -z "$address" ] && [ "$tries" -lt 60 ] && kill -0 "$daemon" 2>/dev/null; do
  sleep 0.5
  tries=$((tries + 1))
  address=$(sed -n 's/.*"message":"ready".*"url":"\([^"]*\)".*/\1/p' "$out/daemon.log")
done
if [ -z "$address" ]; then
  echo "the daemon has not become ready; see $out/daemon.log"
  exit 1
fi

failed=0
for leg in ${LEGS:-2025-11-25 2026-07-28 all}; do
  log=$out/$leg.log
  case $leg in
    all) which= ;;
    *) which="--spec-version $leg" ;;
  esac
  # shellcheck disable=SC2086  # two words, or none
  "${NODE:-node}" "$MCP_CONFORMANCE/dist/index.js" server --url "$address/mcp" --suite all $which \
    --timeout "${TIMEOUT_MS:-60000}" -o "$out/$leg" >"$log" 2>&1 || failed=1
  echo "server $leg: $(grep -E '^Total:|^Passed:' "$log" | tail -n 1)"
  sed -n '/SUMMARY/,$p' "$log" | grep '✗' || :
done
exit $failed
