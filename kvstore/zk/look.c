/*
 * A key is one of two znodes: NAME, and NAME% while it is under a lease. Both may be there: a put
 * without a lease writes NAME and leaves the other to its lease; so the later one counts.
 *
 * NAME is read first: a pair goes from NAME to NAME% in one transaction, and never back without
 * leaving NAME% where it is, so a key that is there is not missed.
 */
#include "store.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>

int fwi_zk_look_init(fwi_zk_look *look, const char *root, const char *key)
{
    *look = (fwi_zk_look){.path = fwi_zk_path(root, key)};
    look->leased_path = look->path ? fwi_zk_leased_path(look->path) : NULL;
    if (look->leased_path)
        return FW_OK;
    fwi_zk_look_fini(look);
    return UV_ENOMEM;
}

static void forget(fwi_zk_seen_node *node)
{
    free(node->data);
    *node = (fwi_zk_seen_node){.there = false};
}

void fwi_zk_look_forget(fwi_zk_look *look)
{
    forget(&look->plain);
    forget(&look->leased);
}

void fwi_zk_look_fini(fwi_zk_look *look)
{
    fwi_zk_look_forget(look);
    free(look->path);
    free(look->leased_path);
    *look = (fwi_zk_look){.path = NULL};
}

bool fwi_zk_look_ask(fwi_zk_look *look, fwi_zk_job *job, fwi_zk_step_fn step, size_t index)
{
    const char *const paths[] = {look->path, look->leased_path};
    for (size_t i = 0; i < 2; i++) {
        fwi_zk_request *request = fwi_zk_job_request(job, step, index + i);
        if (!request)
            return false;
        fwi_zk_send_get(request, paths[i], false);
    }
    return true;
}

void fwi_zk_look_take(fwi_zk_seen_node *node, fwi_zk_request *request)
{
    forget(node);
    if (request->rc)
        return;
    *node = (fwi_zk_seen_node){
        .there = true, .stat = request->stat, .data = request->data, .len = request->data_len};
    request->data = NULL;
}

bool fwi_zk_node_value(const fwi_zk_seen_node *node, fw_slice *ret_value)
{
    *ret_value = (fw_slice){NULL, 0};
    return node->there && fwi_zk_value(node->data, node->len, ret_value);
}

const fwi_zk_seen_node *fwi_zk_look_pair(const fwi_zk_look *look, fw_slice *ret_value)
{
    fw_slice plain, leased;
    bool has_plain = fwi_zk_node_value(&look->plain, &plain);
    bool has_leased = fwi_zk_node_value(&look->leased, &leased);
    if (has_leased && (!has_plain || look->leased.stat.mzxid > look->plain.stat.mzxid)) {
        *ret_value = leased;
        return &look->leased;
    }
    *ret_value = plain;
    return has_plain ? &look->plain : NULL;
}
