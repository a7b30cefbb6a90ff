import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.Node;

/**
 * A node of Elasticsearch on loopback, in a process of its own: {@code ElasticsearchNode HOME NODE COUNT PORT [KEY=VALUE...]}.
 *
 * <p>HOME has {@code modules/} and {@code plugins/}. Node NODE of COUNT keeps its data and configuration in HOME/nodeNODE, listens
 * on PORT + NODE for HTTP and on PORT + 100 + NODE for the other nodes. Further settings follow. SIGTERM ends it.
 */
public final class ElasticsearchNode {
    public static void main(String[] arguments) throws Exception {
        // Without which the plugin service finds no logger; a distribution's launcher does it.
        LogConfigurator.configureESLogging();
        Path home = Path.of(arguments[0]);
        int number = Integer.parseInt(arguments[1]);
        int count = Integer.parseInt(arguments[2]);
        int port = Integer.parseInt(arguments[3]);
        List<String> seeds = new ArrayList<>();
        List<String> names = new ArrayList<>();
        for (int other = 0; other < count; other++) {
            seeds.add("127.0.0.1:" + (port + 100 + other));
            names.add("node" + other);
        }
        Path folder = Files.createDirectories(home.resolve("node" + number));
        Settings.Builder settings = Settings.builder()
            .put("path.home", home.toString())
            .put("path.data", folder.resolve("data").toString())
            .put("path.logs", folder.resolve("logs").toString())
            .put("cluster.name", "lorank-test")
            .put("node.name", "node" + number)
            .put("network.host", "127.0.0.1")
            .put("http.port", port + number)
            .put("transport.port", port + 100 + number)
            .putList("discovery.seed_hosts", seeds)
            .putList("cluster.initial_master_nodes", names)
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .put("node.store.allow_mmap", false);
        for (int next = 4; next < arguments.length; next++) {
            String[] setting = arguments[next].split("=", 2);
            settings.put(setting[0], setting[1]);
        }
        Node node = node(home, new Environment(settings.build(), Files.createDirectories(folder.resolve("config"))));
        node.start();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                node.close();
            } catch (Exception error) {
                error.printStackTrace();
            }
        }));
        new CountDownLatch(1).await();
    }

    /** {@code new Node(environment)} of 8.15 or {@code new Node(environment, loader)} of 9: no source compiles with both. */
    private static Node node(Path home, Environment environment) throws Exception {
        try {
            return Node.class.getConstructor(Environment.class).newInstance(environment);
        } catch (NoSuchMethodException newer) {
            Class<?> loader = Class.forName("org.elasticsearch.plugins.PluginsLoader");
            Object modules = loader.getMethod("loadModulesBundles", Path.class).invoke(null, home.resolve("modules"));
            Object plugins = loader.getMethod("loadPluginsBundles", Path.class).invoke(null, home.resolve("plugins"));
            Object all = loader.getMethod("createPluginsLoader", Set.class, Set.class, Map.class).invoke(null, modules, plugins, Map.of());
            return Node.class.getConstructor(Environment.class, loader).newInstance(environment, all);
        }
    }
}
