# Jars of Maven Central for the engines; install.sh sources this file.

# jars FOLDER ARTIFACT...: artifacts (GROUP:NAME:VERSION) with their dependencies.
jars() {
    local target=$1 artifact group name at project
    shift
    project=$(mktemp -d)
    {
        echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        echo '<groupId>test</groupId><artifactId>test</artifactId><version>1</version><dependencies>'
        for artifact in "$@"; do
            IFS=: read -r group name at <<<"$artifact"
            echo "<dependency><groupId>$group</groupId><artifactId>$name</artifactId><version>$at</version></dependency>"
        done
        echo '</dependencies></project>'
    } >"$project/pom.xml"
    mvn -q -B -f "$project/pom.xml" dependency:copy-dependencies -DoutputDirectory="$target" >&2
    rm -r "$project"
}

# module ENGINE VERSION FOLDER NAME ARTIFACT CLASS: a plugin of every distribution. On the class path, its jars would collide with
# those of plugins.
module() {
    local engine=$1 version=$2 folder=$3 name=$4 artifact=$5 class=$6 target=$3/modules/$4 jar
    jars "$target" "org.$engine.plugin:$artifact:$version"
    for jar in "$target"/*.jar; do
        [ ! -e "$folder/lib/${jar##*/}" ] || rm "$jar"
    done
    printf '%s\n' "description=$name" "version=$version" "name=$name" "classname=$class" java.version=11 \
        "$engine.version=$version" extended.plugins= has.native.controller=false >"$target/plugin-descriptor.properties"
}
