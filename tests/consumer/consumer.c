/* Links every module through the installed headers, and uses each a little. */
#include <fairway/clientproxy.h>
#include <fairway/discovery.h>
#include <fairway/error.h>
#include <fairway/gateway.h>
#include <fairway/kvstore.h>
#include <fairway/rpc.h>
#include <fairway/version.h>
#include <fairway/vconn.h>
#include <stdio.h>
#include <string.h>

static void on_get(const fw_kv_result *result, void *arg)
{
    *(int *)arg = result->status;
    if (!result->status)
        printf("%s = %.*s\n", result->pairs->key, (int)result->pairs->value.len,
               (const char *)result->pairs->value.data);
}

static void on_put(const fw_kv_result *result, void *arg)
{
    (void)result;
    (void)arg;
}

int main(void)
{
    fw_loop *loop;
    fw_kv *kv;
    int status = 1;
    if (fw_loop_new(&loop) || fw_kv_open(loop, "mem:consumer", NULL, &kv))
        return 1;
    if (fw_kv_put(kv, "greeting", (fw_slice){"hello", 5}, NULL, on_put, NULL) ||
        fw_kv_get(kv, "greeting", on_get, &status))
        return 1;
    fw_kv_close(kv, NULL, NULL);
    fw_loop_run(loop);
    printf("fairway %s: %s, %s\n", FW_VERSION, fw_strerror(status), fw_balancer_find("rr")->name);
    return status == FW_ECANCELED || status == FW_OK ? fw_loop_close(loop) : 1;
}
