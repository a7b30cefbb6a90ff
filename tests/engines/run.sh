#!/usr/bin/env bash
# lorank before real search engines: `tests/engines/run.sh`. LORANK_BIN names another program than target/debug/lorank. Needs Maven, a
# JDK 17, curl and unzip, and Node and Chromium for the page; the engines stay below target/engines. With a JDK 21 or newer at
# JAVA_21_HOME or below /usr/lib/jvm, OpenSearch 3 and Elasticsearch 9 are tested too. LORANK_CI_ENGINES=full also tests lorank
# inside OpenSearch's own pipeline, a download of 360 MB a version.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ "${LORANK_CI_WITHOUT_BROWSER:-}" = 1 ] || (cd tests/browser && npm ci --no-audit --no-fund --loglevel error)
tests/engines/check.py opensearch 2.19.6
tests/engines/check.py elasticsearch 8.15.0
# The last 2.19 for which the security plugin is published.
tests/engines/opensearch/secured.py 2.19.1
if [ "${LORANK_CI_ENGINES:-}" = full ]; then
    tests/engines/opensearch/pipeline.py 2.19.1
fi
newer=${JAVA_21_HOME:-}
for home in /usr/lib/jvm/*; do
    # A JDK's file `release` has its version.
    version=$(sed -n 's/^JAVA_VERSION="\([0-9]*\).*/\1/p' "$home/release" 2>/dev/null || true)
    if [ -z "$newer" ] && [ -n "$version" ] && [ "$version" -ge 21 ]; then newer=$home; fi
done
if [ -n "$newer" ]; then
    tests/engines/check.py opensearch 3.9.0 "$newer"
    tests/engines/check.py elasticsearch 9.1.0 "$newer"
    if [ "${LORANK_CI_ENGINES:-}" = full ]; then
        # The newest 3.x for which these plugins are published.
        tests/engines/opensearch/pipeline.py 3.6.0 "$newer"
    fi
else
    echo "OpenSearch 3 and Elasticsearch 9 are left out: they need a JDK 21 or newer (JAVA_21_HOME)"
fi
