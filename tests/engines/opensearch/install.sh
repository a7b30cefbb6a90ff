#!/usr/bin/env bash
# OpenSearch from Maven Central's jars: `install.sh VERSION FOLDER [PLUGIN...]`. Needs Maven and a JDK: Java 17 for 2.x, 21 or newer
# for 3.x. PLUGIN is an artifact of org.opensearch.plugin that is published as a zip for the same version, as opensearch-security.
# A folder that is complete is left as it is.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../jars.sh"
version=$1 folder=$2
shift 2
mark="complete: $version $*"
[ "$(cat "$folder/complete" 2>/dev/null)" != "$mark" ] || exit 0
rm -rf "$folder"
mkdir -p "$folder/classes"
folder=$(cd "$folder" && pwd)

jars "$folder/lib" "org.opensearch:opensearch:$version" "org.opensearch:opensearch-plugin-classloader:$version"
# Needed at run time, and not declared.
api=$(basename "$folder"/lib/log4j-api-*.jar .jar)
jars "$folder/lib" "org.apache.logging.log4j:log4j-core:${api#log4j-api-}"
case $version in
    2.*) suffix=Plugin ;;
    *) suffix=ModulePlugin ;;
esac
module opensearch "$version" "$folder" transport-netty4 transport-netty4-client "org.opensearch.transport.Netty4$suffix"
module opensearch "$version" "$folder" analysis-common analysis-common "org.opensearch.analysis.common.CommonAnalysis$suffix"
if [ $# != 0 ]; then
    module opensearch "$version" "$folder" lang-painless lang-painless "org.opensearch.painless.Painless$suffix"
    if [ $suffix != Plugin ]; then
        # Which 3.x's k-NN extends.
        module opensearch "$version" "$folder" transport-grpc transport-grpc org.opensearch.transport.grpc.GrpcPlugin
        # Which 3.x's distributions have, and the ML plugin needs.
        jars "$folder/lib" org.bouncycastle:bcprov-jdk18on:1.81
    fi
fi
for plugin in "$@"; do
    mvn -q -B dependency:get -Dtransitive=false -Dartifact="org.opensearch.plugin:$plugin:$version.0:zip" >&2
    mkdir -p "$folder/plugins/$plugin"
    unzip -qo "$HOME/.m2/repository/org/opensearch/plugin/$plugin/$version.0/$plugin-$version.0.zip" -d "$folder/plugins/$plugin"
done
"${JAVA_HOME:+$JAVA_HOME/bin/}javac" -cp "$folder/lib/*" -d "$folder/classes" "$here/OpenSearchNode.java"
echo "$mark" >"$folder/complete"
