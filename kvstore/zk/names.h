/* How keys and values stand in ZooKeeper: see README.md, "Layout". */
#ifndef FWI_ZK_NAMES_H
#define FWI_ZK_NAMES_H

#include "driver.h"

/* The data of a znode that is a directory only, and what is put before a value that begins so. */
#define FWI_ZK_MARKER '\1'

/* The path of a normalised key below root ("" or "/a/b"); key "": root itself ("/" for ""). To be
 * freed; NULL without memory. */
char *fwi_zk_path(const char *root, const char *key);
/* The znode beside it that holds a pair under a lease. */
char *fwi_zk_leased_path(const char *path);
/* The name of a child back to the key's part, written to ret_part (strlen(name) + 1 bytes):
 * its length, or -1 if the name is none of ours. at_top: the child of "/". */
int fwi_zk_part(const char *name, bool at_top, char *ret_part, bool *ret_leased);
/* Directory and name; NULL without memory. */
char *fwi_zk_child(const char *directory, const char *name);

/* A key and the next part: the key of what is below. */
char *fwi_zk_key_below(const char *key, const char *part);

/* False if data (len -1: null) is that of a directory; the value is a part of data. */
bool fwi_zk_value(const char *data, int len, fw_slice *ret_value);
/* What is stored for a value: *ret_data is to be freed, NULL means that it is the value's bytes as
 * they are. UV_ENOMEM. */
int fwi_zk_data(fw_slice value, char **ret_data, size_t *ret_len);

#endif
