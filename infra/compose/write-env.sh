#!/bin/sh
# Write .env from .env.example with a random value for every empty one. A .env that is there keeps what it says, and gets
# the variables that only the example has: those of a newer version.
set -eu
cd "$(dirname "$0")/../.."
umask 077

valued() { # a line of the example, with a value
  case $1 in
    *=) printf '%s%s\n' "$1" "$(od -An -N18 -tx1 /dev/urandom | tr -d ' \n')" ;; # hex: needs quoting nowhere
    *) printf '%s\n' "$1" ;;
  esac
}

if [ -e .env ]; then
  cp .env .env.new
  while IFS= read -r line; do
    name=${line%%=*}
    case $line in \#* | "") continue ;; esac
    grep -q "^$name=" .env && continue
    valued "$line" >>.env.new
    echo "Added $name to .env, which .env.example tells about."
  done <.env.example
else
  while IFS= read -r line; do valued "$line"; done <.env.example >.env.new
  echo "Wrote .env with random passwords. RabbitMQ's page: user lakedrop-operator, password RABBITMQ_OPERATOR_PASSWORD."
fi
mv .env.new .env
