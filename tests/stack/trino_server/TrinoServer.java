/** Starts the server of the class path; Trino's own main class lies in an archive that Maven has no newer version of. */
public final class TrinoServer {
  private TrinoServer() {}

  public static void main(String[] arguments) {
    new io.trino.server.Server().start(arguments[0]);
  }
}
