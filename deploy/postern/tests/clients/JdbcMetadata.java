import java.sql.*;
import java.util.*;

/**
 * What JDBC's DatabaseMetaData finds: the same through the gate as at the database itself.
 *
 * Reads PGHOST, PGPORT, PGUSER, PGPASSWORD (the token) and PGDATABASE from the environment; prints every row of every result.
 */
public class JdbcMetadata {
    static void print(String name, ResultSet rows) throws SQLException {
        System.out.println("== " + name);
        int columns = rows.getMetaData().getColumnCount();
        List<String> lines = new ArrayList<>();
        while (rows.next()) {
            StringBuilder line = new StringBuilder();
            for (int i = 1; i <= columns; i++) line.append(rows.getMetaData().getColumnLabel(i)).append('=').append(rows.getString(i)).append(' ');
            lines.add(line.toString());
        }
        rows.close();
        Collections.sort(lines);
        lines.forEach(System.out::println);
    }

    public static void main(String[] arguments) throws SQLException {
        Map<String, String> env = System.getenv();
        Properties properties = new Properties();
        properties.setProperty("user", env.get("PGUSER"));
        properties.setProperty("password", env.get("PGPASSWORD"));
        properties.setProperty("sslmode", env.get("PGSSLMODE"));
        String url = "jdbc:postgresql://" + env.get("PGHOST") + ":" + env.get("PGPORT") + "/" + env.get("PGDATABASE");
        try (Connection connection = DriverManager.getConnection(url, properties)) {
            DatabaseMetaData see = connection.getMetaData();
            System.out.println(see.getDatabaseProductName() + " " + see.getDatabaseProductVersion());
            print("catalogs", see.getCatalogs());
            print("schemas", see.getSchemas());
            print("table types", see.getTableTypes());
            print("types", see.getTypeInfo());
            print("tables", see.getTables(null, null, "%", null));
            print("views", see.getTables(null, "public", "%", new String[] {"VIEW", "MATERIALIZED VIEW", "PARTITIONED TABLE"}));
            print("columns", see.getColumns(null, "public", "%", "%"));
            print("closed columns", see.getColumns(null, "hr", "%", "%"));
            print("functions", see.getFunctions(null, "public", "%"));
            print("function columns", see.getFunctionColumns(null, "public", "%", "%"));
            print("procedures", see.getProcedures(null, "public", "%"));
            print("procedure columns", see.getProcedureColumns(null, "public", "%", "%"));
            print("user types", see.getUDTs(null, "public", "%", null));
            print("client info", see.getClientInfoProperties());
            for (String table : List.of("customers", "payments", "orders", "order_lines")) {
                print(table + " primary key", see.getPrimaryKeys(null, "public", table));
                print(table + " index", see.getIndexInfo(null, "public", table, false, true));
                print(table + " imported", see.getImportedKeys(null, "public", table));
                print(table + " exported", see.getExportedKeys(null, "public", table));
                print(table + " best row", see.getBestRowIdentifier(null, "public", table, DatabaseMetaData.bestRowSession, true));
                print(table + " version", see.getVersionColumns(null, "public", table));
                print(table + " privileges", see.getTablePrivileges(null, "public", table));
                print(table + " column privileges", see.getColumnPrivileges(null, "public", table, "%"));
            }
            print("cross", see.getCrossReference(null, "public", "orders", null, "public", "order_lines"));
            for (String sql : List.of(see.getSQLKeywords(), see.getNumericFunctions(), "" + see.getMaxConnections(), "" + see.getMaxColumnNameLength(),
                    "" + see.getDefaultTransactionIsolation(), see.getIdentifierQuoteString())) System.out.println(sql);
            try (PreparedStatement statement = connection.prepareStatement("select id, card_number, balance, region from customers where id = ?")) {
                ResultSetMetaData shape = statement.getMetaData();
                for (int i = 1; i <= shape.getColumnCount(); i++)
                    System.out.println(shape.getColumnName(i) + " " + shape.getColumnTypeName(i) + " " + shape.getTableName(i) + " " + shape.getSchemaName(i)
                        + " " + shape.isNullable(i) + " " + shape.isAutoIncrement(i) + " " + shape.getPrecision(i) + " " + shape.getScale(i));
                System.out.println(statement.getParameterMetaData().getParameterTypeName(1));
                statement.setInt(1, 1);
                ResultSet row = statement.executeQuery();
                if (!row.next() || row.getString("card_number").isEmpty()) throw new AssertionError("no card");
            }
        }
    }
}
