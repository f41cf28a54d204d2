// What the importer cannot take from SQLite's header: destructor constants and functions with variable arguments.
#ifndef FLOE_CSQLITE_SHIM_H
#define FLOE_CSQLITE_SHIM_H

#include <sqlite3.h>
#include <stdint.h>

// SQLite copies the bytes before the call returns.
static inline int floe_bind_text(sqlite3_stmt *statement, int index, const char *text, int count) {
    return sqlite3_bind_text(statement, index, text, count, SQLITE_TRANSIENT);
}

static inline int floe_bind_blob(sqlite3_stmt *statement, int index, const uint8_t *bytes, int count) {
    // A null pointer would store NULL instead of an empty blob.
    return count == 0 ? sqlite3_bind_zeroblob(statement, index, 0)
                      : sqlite3_bind_blob(statement, index, bytes, count, SQLITE_TRANSIENT);
}

// A file that somebody else made may hold a schema with functions that do harm: none of them runs.
static inline int floe_distrust_schema(sqlite3 *database) {
    int done = sqlite3_db_config(database, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, (int *)0);
    return done == SQLITE_OK ? sqlite3_db_config(database, SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)0) : done;
}

#endif
