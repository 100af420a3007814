/* Ends leases of an LMDB store that others are at work with: lmdb_revoke DIRECTORY ID... */
#include "lmdb/schema.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>

static int revoke(const fwi_lmdb_schema *schema, MDB_txn *txn, char **ids, int count)
{
    fwi_lmdb_write write;
    int rc = fwi_lmdb_write_begin(&write, schema, txn);
    for (int i = 0; i < count && !rc; i++) {
        fwi_lmdb_request request = {.kind = FWI_LMDB_REVOKE, .lease = strtoll(ids[i], NULL, 10)};
        rc = fwi_lmdb_write_execute(&write, &request);
        if (!rc && request.status)
            fprintf(stderr, "lease %s: %s\n", ids[i], fw_strerror(request.status));
    }
    return rc ? rc : fwi_lmdb_write_end(&write);
}

int main(int argc, char **argv)
{
    MDB_env *env;
    MDB_txn *txn = NULL;
    fwi_lmdb_schema schema;
    if (argc < 3 || mdb_env_create(&env))
        return 2;
    int rc = mdb_env_set_maxdbs(env, 16);
    if (!rc)
        rc = mdb_env_open(env, argv[1], MDB_NOTLS | MDB_NOSYNC, 0600);
    if (!rc)
        rc = mdb_txn_begin(env, NULL, 0, &txn);
    if (!rc)
        rc = fwi_lmdb_schema_open(&schema, txn);
    if (!rc)
        rc = revoke(&schema, txn, argv + 2, argc - 2);
    if (!rc)
        rc = mdb_txn_commit(txn);
    else if (txn)
        mdb_txn_abort(txn);
    mdb_env_close(env);
    if (rc)
        fprintf(stderr, "%s: %s\n", argv[1], mdb_strerror(rc));
    return rc ? 1 : 0;
}
