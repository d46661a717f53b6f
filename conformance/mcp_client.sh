#!/bin/sh
# Run the MCP client suite against the daemon's own connections to MCP servers.
#
#   MCP_CONFORMANCE=FOLDER conformance/mcp_client.sh [OUT]
#
# FOLDER is the installed package @modelcontextprotocol/conformance; NODE is a Node of 22 or newer
# (default: node); PYTHON the environment of the daemon (default: .venv/bin/python); LEGS the
# revisions (default: both). Exit 0: nothing failed.
set -u
: "${MCP_CONFORMANCE:?set MCP_CONFORMANCE to the installed package @modelcontextprotocol/conformance}"
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-$here/../.venv/bin/python}
out=${1:-mcp-client-conformance}
mkdir -p "$out" || exit 2
failed=0
for revision in ${LEGS:-2025-11-25 2026-07-28}; do
  log=$out/$revision.log
  "${NODE:-node}" "$MCP_CONFORMANCE/dist/index.js" client --command "$python $here/mcp_client.py" \
    --suite all --spec-version "$revision" --timeout "${TIMEOUT_MS:-240000}" -o "$out/$revision" \
    >"$log" 2>&1 || failed=1
  echo "client $revision: $(grep -E '^Total:|^Passed:' "$log" | tail -n 1)"
  grep '^✗' "$log" || :
done
exit $failed
