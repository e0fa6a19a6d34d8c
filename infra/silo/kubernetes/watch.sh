#!/bin/sh
# Runs SILO whenever the importer asks for it with the file `run_silo`, and answers with `silo_done`. Stands in the
# container of SILO, which needs nothing but a shell for it, as:  sh watch.sh
#
#   SILO_BINARY                the program; /app/silo
#   SILO_INPUT_DIR             the folder shared with the importer; /preprocessing/input
#   SILO_RUNNER_SLEEP_SECONDS  between two looks; 1
#   SILO_PREPROCESSING_CONFIG  is SILO's own
#
# A SILO that fails ends this too, with its exit code, so that whoever runs the container sees it and begins it again.
set -eu

silo=${SILO_BINARY:-/app/silo}
input=${SILO_INPUT_DIR:-/preprocessing/input}
pause=${SILO_RUNNER_SLEEP_SECONDS:-1}
child=

# Whoever looks sees a file that is whole, or none.
put() {
  printf '%s\n' "$@" >"$input/$name.tmp"
  mv "$input/$name.tmp" "$input/$name"
}

stop() {
  trap - TERM INT
  [ -z "$child" ] || kill "$child" 2>/dev/null || :
  exit 143
}
trap stop TERM INT

while :; do
  run_id=
  if [ -f "$input/run_silo" ]; then
    run_id=$(sed -n 's/^run_id=//p' "$input/run_silo" 2>/dev/null | head -n 1)
  fi
  if [ -z "$run_id" ]; then
    # A signal waits for the end of a program in the foreground, but not of `wait`.
    sleep "$pause" &
    wait $!
    continue
  fi
  rm -f "$input/run_silo"
  code=0
  # A signal that comes before the id of the child is known is dealt with after that.
  ended=
  trap 'ended=yes' TERM INT
  "$silo" preprocessing &
  child=$!
  trap stop TERM INT
  [ -z "$ended" ] || stop
  wait "$child" || code=$?
  child=
  if [ "$code" -ne 0 ]; then
    name=silo_done put "run_id=$run_id" "status=error" "message=SILO exited with code $code"
    exit "$code"
  fi
  name=last_silo_run put "run_id=$run_id" "ended=$(date -u +%Y-%m-%dT%H:%M:%SZ)"
  name=silo_done put "run_id=$run_id" "status=success"
done
