#!/bin/sh
# smoke.sh seaweedfs|minio: upload a file to the running stack and wait until Trino shows its rows.
set -eu
cd "$(dirname "$0")/../.."
. ./.env

case $1 in
  seaweedfs) endpoint=http://seaweedfs:8333 catalog=iceberg ;;
  minio) endpoint=http://minio:9000 catalog=minio ;;
esac

docker run --rm --interactive --network lakedrop_default \
  --env AWS_ACCESS_KEY_ID="$S3_ACCESS_KEY" --env AWS_SECRET_ACCESS_KEY="$S3_SECRET_KEY" --env AWS_DEFAULT_REGION=us-east-1 \
  amazon/aws-cli:2.31.0 --endpoint-url "$endpoint" s3 cp - "s3://$S3_INGEST_BUCKET/orders/smoke.csv" <<'CSV'
id,customer,amount
1,Ada,10.50
2,Grace,20.25
CSV

for _ in $(seq 60); do
  rows=$(docker compose exec -T trino trino --output-format TSV --execute "select count(*) from $catalog.lakehouse.orders" 2>/dev/null || true)
  [ "$rows" = 2 ] && echo "Trino shows the 2 rows of orders/smoke.csv" && exit 0
  sleep 1
done
echo "Trino does not show the rows of orders/smoke.csv after a minute; it says: ${rows:-nothing}" >&2
exit 1
