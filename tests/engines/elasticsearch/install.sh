#!/usr/bin/env bash
# Elasticsearch from Maven Central's jars: `install.sh VERSION FOLDER`. Needs Maven and a JDK: Java 17 for 8, 21 or newer for 9.
# Of the modules of a distribution, only the network is published there: no painless, no reindex and no `GET /`. A folder that is
# complete is left as it is.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../jars.sh"
version=$1 folder=$2
mark="complete: $version"
[ "$(cat "$folder/complete" 2>/dev/null)" != "$mark" ] || exit 0
rm -rf "$folder"
mkdir -p "$folder/classes"
folder=$(cd "$folder" && pwd)
jars "$folder/lib" "org.elasticsearch:elasticsearch:$version"
module elasticsearch "$version" "$folder" transport-netty4 transport-netty4 org.elasticsearch.transport.netty4.Netty4Plugin
"${JAVA_HOME:+$JAVA_HOME/bin/}javac" -cp "$folder/lib/*" -d "$folder/classes" "$here/ElasticsearchNode.java"
echo "$mark" >"$folder/complete"
