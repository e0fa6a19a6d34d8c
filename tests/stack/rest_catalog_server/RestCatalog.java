import jakarta.servlet.ServletException;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletRequestWrapper;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.iceberg.jdbc.JdbcCatalog;
import org.apache.iceberg.rest.RESTCatalogAdapter;
import org.apache.iceberg.rest.RESTCatalogServlet;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Server;

/**
 * Many Iceberg REST catalogs in one process, on loopback: what is asked below /NAME/ goes to a catalog of its own, kept
 * in FOLDER/NAME.db, whose warehouse is s3://NAME/warehouse. Arguments: PORT FOLDER. The store is the one that
 * AWS_ENDPOINT_URL_S3 and the other variables of AWS name.
 */
public final class RestCatalog extends HttpServlet {
  private final Path folder;
  private final Map<String, RESTCatalogServlet> catalogs = new ConcurrentHashMap<>();

  private RestCatalog(Path folder) {
    this.folder = folder;
  }

  private RESTCatalogServlet open(String name) {
    Map<String, String> properties =
        Map.of(
            "uri", "jdbc:sqlite:" + folder.resolve(name + ".db"),
            "jdbc.schema-version", "V1",
            "clients", "1", // SQLite takes one writer, and answers others with an error
            "warehouse", "s3://" + name + "/warehouse",
            "io-impl", "org.apache.iceberg.aws.s3.S3FileIO",
            "s3.endpoint", System.getenv("AWS_ENDPOINT_URL_S3"),
            "s3.path-style-access", "true");
    JdbcCatalog catalog = new JdbcCatalog();
    catalog.initialize(name, properties);
    return new RESTCatalogServlet(new RESTCatalogAdapter(catalog));
  }

  @Override
  protected void service(HttpServletRequest request, HttpServletResponse response)
      throws ServletException, IOException {
    String[] parts = request.getRequestURI().split("/", 3);
    if (parts.length < 3 || !parts[1].matches("[a-z0-9][a-z0-9.-]*")) {
      response.sendError(HttpServletResponse.SC_NOT_FOUND, "ask below /NAME/");
      return;
    }
    HttpServletRequest below =
        new HttpServletRequestWrapper(request) {
          @Override
          public String getRequestURI() {
            return "/" + parts[2];
          }
        };
    catalogs.computeIfAbsent(parts[1], this::open).service(below, response);
  }

  public static void main(String[] arguments) throws Exception {
    ServletContextHandler context = new ServletContextHandler();
    context.addServlet(new ServletHolder(new RestCatalog(Path.of(arguments[1]))), "/*");
    Server server = new Server(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])));
    server.setHandler(context);
    server.start();
    server.join();
  }
}
