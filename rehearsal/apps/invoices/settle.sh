#!/bin/sh
# Settles one invoice after the other, and stops between two of them.
set -eu
stopping='' pause=''
trap 'stopping=yes; kill $pause 2>/dev/null || true' TERM
number=0
while [ -z "$stopping" ]; do
  number=$((number + 1))
  printf '{"level":"info","message":"invoice settled","number":%d}\n' "$number"
  # In the background, since the shell hears a signal only between commands.
  sleep "${INTERVAL_SECONDS:-10}" &
  pause=$!
  [ -n "$stopping" ] || wait "$pause" || true
done
kill "$pause" 2>/dev/null || true
printf '{"level":"info","message":"stopped","settled":%d}\n' "$number"
