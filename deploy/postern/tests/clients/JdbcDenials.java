import java.sql.*;
import java.util.Properties;

/**
 * The PostgreSQL JDBC driver and denials: an ordinary SQLException, with and without transactions and batches.
 *
 * Reads PGHOST, PGPORT, PGUSER, PGPASSWORD (the token) and PGDATABASE from the environment; prints one line a case.
 */
public class JdbcDenials {
    static final String DENIED = "select id from customers where ssn = 'x'";
    static final String INSERT = "insert into gate_rows values (default)";

    interface Work { void run() throws SQLException; }

    static void ok(String name) { System.out.println("ok " + name); }

    static void check(boolean holds, String what) {
        if (!holds) throw new AssertionError(what);
    }

    static void denied(Work work) {
        try {
            work.run();
        } catch (SQLException error) {
            SQLException first = error;
            while (!"42501".equals(first.getSQLState()) && first.getNextException() != null) first = first.getNextException();
            check("42501".equals(first.getSQLState()), "another error: " + error);
            check(first.getMessage().contains("stm_") && first.getMessage().contains("Hint"), first.getMessage());
            return;
        }
        throw new AssertionError("not denied");
    }

    static int count(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement();
             ResultSet rows = statement.executeQuery("select count(*) from gate_rows")) {
            rows.next();
            return rows.getInt(1);
        }
    }

    public static void main(String[] arguments) throws SQLException {
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE");
        for (String mode : new String[] {"extended", "simple"}) {
            Properties properties = new Properties();
            properties.setProperty("user", System.getenv("PGUSER"));
            properties.setProperty("password", System.getenv("PGPASSWORD"));
            properties.setProperty("sslmode", "require");
            properties.setProperty("preferQueryMode", mode);
            try (Connection connection = DriverManager.getConnection(url, properties)) {
                work(connection, mode);
            }
        }
        System.out.println("all passed");
    }

    static void work(Connection connection, String mode) throws SQLException {
        Statement statement = connection.createStatement();
        denied(() -> statement.executeQuery(DENIED));
        try (PreparedStatement prepared = connection.prepareStatement("select id from customers where ssn = ?")) {
            for (int run = 0; run < 7; run++) {
                prepared.setString(1, "x");
                denied(prepared::executeQuery);
            }
        }
        check(statement.executeQuery("select 1").next(), "the connection survives");
        ok(mode + ": alone, prepared");

        int before = count(connection);
        denied(() -> statement.execute(INSERT + "; " + DENIED + "; " + INSERT));
        check(count(connection) == before, "several statements: something was written");
        ok(mode + ": several statements");

        connection.setAutoCommit(false);
        statement.executeUpdate(INSERT);
        denied(() -> statement.executeQuery(DENIED));
        try {
            statement.executeQuery("select 1");
            throw new AssertionError("the transaction must have failed");
        } catch (SQLException failed) {
            check("25P02".equals(failed.getSQLState()), failed.toString());
        }
        connection.rollback();
        check(count(connection) == before, "rolled back");
        statement.executeUpdate(INSERT);
        Savepoint savepoint = connection.setSavepoint();
        denied(() -> statement.executeQuery(DENIED));
        connection.rollback(savepoint);
        connection.commit();
        check(count(connection) == before + 1, "back to the savepoint");
        ok(mode + ": in a transaction");

        statement.addBatch(INSERT);
        statement.addBatch("delete from customers where ssn = 'x'");
        statement.addBatch(INSERT);
        denied(statement::executeBatch);
        connection.rollback();
        check(count(connection) == before + 1, "a batch");
        connection.setAutoCommit(true);
        check(statement.executeQuery("select 1").next(), "the connection survives");
        ok(mode + ": in a batch");
    }
}
