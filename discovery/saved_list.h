/*
 * A list of instances as a file: what a process starts from when the store is dead.
 *
 *     magic       "fwlist1\n"
 *     u64         number of instances          all numbers little-endian
 *     i64         revision of the store
 *     i64         when it was saved, Unix milliseconds
 *     records     u16 number of metadata fields, u8 state, u8 zero, u32 weight, i64 started, then
 *                 service, id, net, addr, balance, zone, protocol, version, and the name and value
 *                 of each field, each as u16 length and bytes; sorted by service and id
 *     32 bytes    SHA-256 of all before
 *
 * A file is written beside its place and then moved there, so that it is whole or the old one. Any
 * doubt about it (length, order, checksum) and nothing of it is used.
 */
#ifndef FWI_SAVED_LIST_H
#define FWI_SAVED_LIST_H

#include "instance_set.h"

typedef struct fwi_saved_list {
    fwi_set_node *instances;
    int64_t revision;
    int64_t saved_ms; /* Unix time */
} fwi_saved_list;

/* The bytes of a file, to be freed. FW_ELIMIT: a text of more than 65535 bytes; UV_ENOMEM. */
FWI_API FW_MUST_CHECK int fwi_saved_list_encode(const fwi_saved_list *list, uint8_t **ret_bytes,
                                                size_t *ret_len);
/* Reads a file; the set is to be released. FW_EINSTANCE: not whole, or no such file; UV_ENOMEM. */
FWI_API FW_MUST_CHECK int fwi_saved_list_decode(fw_slice bytes, fwi_saved_list *ret_list);

/* Both block: for a thread that may. Errors of the system as libuv's, and the above. */
FWI_API FW_MUST_CHECK int fwi_saved_list_write(const char *path, const fwi_saved_list *list);
FWI_API FW_MUST_CHECK int fwi_saved_list_read(const char *path, fwi_saved_list *ret_list);

#endif
