#!/bin/sh
# Serves the shop. httpd as process 1 would ignore SIGTERM, and every rollout would wait out its grace period.
set -eu
trap 'exit 0' TERM
httpd -f -p "${LISTEN:-8080}" -h /srv/www &
wait
