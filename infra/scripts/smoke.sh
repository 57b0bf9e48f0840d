#!/bin/sh
# After a deployment: does the app answer, and does it reach what it depends on?
#   sh infra/scripts/smoke.sh RESOURCE_GROUP APP URL
# Needs az (signed in) and curl. The function key is asked for, used and not shown. Where the door is
# entra, TOKEN holds an access token with the role Runs.Read; without one only `alive` is asked.
set -eu
group=$1 app=$2 url=$3

answer() { # path; a header on standard input, where no other process sees it. Prints the status.
  curl --silent --show-error --max-time 60 --output smoke.json --write-out '%{http_code}' \
    --header @- "$url$1" || true
}

# Roles take minutes to be known everywhere after the first deployment, and the package to be built.
tries=0
until [ "$(answer /api/alive < /dev/null)" = 200 ]; do
  tries=$((tries + 1))
  if [ "$tries" -ge "${SMOKE_TRIES:-30}" ]; then
    echo "smoke: $url/api/alive does not answer 200; see infra/README.md, When the app does not start" >&2
    exit 1
  fi
  sleep "${SMOKE_PAUSE:-20}"
done
echo "alive"

door=$(az functionapp config appsettings list --resource-group "$group" --name "$app" \
  --query "[?name=='CSP_HTTP_DOOR'].value | [0]" --output tsv)
if [ "$door" = entra ]; then
  if [ -z "${TOKEN:-}" ]; then
    echo "not asked whether it is ready: the door is entra and TOKEN is not set"
    exit 0
  fi
  header="Authorization: Bearer $TOKEN"
else
  key=$(az functionapp keys list --resource-group "$group" --name "$app" \
    --query functionKeys.default --output tsv)
  [ -z "${GITHUB_ACTIONS:-}" ] || echo "::add-mask::$key"
  header="x-functions-key: $key"
fi
status=$(printf '%s\n' "$header" | answer /api/ready)
cat smoke.json
echo
if [ "$status" != 200 ]; then
  echo "smoke: $url/api/ready answers $status: the app runs, but a dependency does not answer" >&2
  exit 1
fi
echo "ready"
