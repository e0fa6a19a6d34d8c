import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import org.opensearch.common.settings.Setting;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.painless.PainlessPlugin;
import org.opensearch.plugins.Plugin;
import org.opensearch.transport.Netty4Plugin;

/** A node on its own, on loopback, without the files of a distribution. Arguments: FOLDER HTTP-PORT TRANSPORT-PORT. */
public final class OpenSearchNode extends Node {
  /**
   * What Argilla says of vectors when it makes an index, even one without any. The plugin that searches vectors
   * defines it; without one OpenSearch refuses the index.
   */
  public static final class VectorSettings extends Plugin {
    @Override
    public List<Setting<?>> getSettings() {
      return List.of(Setting.boolSetting("index.knn", false, Setting.Property.IndexScope));
    }
  }

  private OpenSearchNode(Environment environment) {
    super(environment, List.of(Netty4Plugin.class, PainlessPlugin.class, VectorSettings.class), false);
  }

  public static void main(String[] arguments) throws Exception {
    Settings settings =
        Settings.builder()
            .put("path.home", arguments[0])
            .put("cluster.name", "tests")
            .put("node.name", "node1")
            .put("network.host", "127.0.0.1")
            .put("http.port", arguments[1])
            .put("transport.port", arguments[2])
            .put("transport.type", "netty4")
            .put("http.type", "netty4")
            .put("discovery.type", "single-node")
            .put("action.auto_create_index", false) // a missing index is to be seen
            .put("cluster.routing.allocation.disk.threshold_enabled", false) // works on a disk nearly full, too
            .build();
    OpenSearchNode node =
        new OpenSearchNode(InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), null, () -> "node1"));
    CountDownLatch ended = new CountDownLatch(1);
    Runtime.getRuntime().addShutdownHook(new Thread(() -> close(node, ended)));
    node.start();
    ended.await();
  }

  private static void close(Node node, CountDownLatch ended) {
    try {
      node.close();
    } catch (java.io.IOException error) {
      error.printStackTrace();
    }
    ended.countDown();
  }
}
