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

struct answer {
    fw_kv *kv;
    int status;
};

static void on_get(const fw_kv_result *result, void *arg)
{
    struct answer *answer = arg;
    answer->status = result->status;
    if (!result->status)
        printf("%s = %.*s\n", result->pairs->key, (int)result->pairs->value.len,
               (const char *)result->pairs->value.data);
    fw_kv_close(answer->kv, NULL, NULL);
}

static void on_put(const fw_kv_result *result, void *arg)
{
    struct answer *answer = arg;
    if (result->status || fw_kv_get(answer->kv, "greeting", on_get, answer))
        fw_kv_close(answer->kv, NULL, NULL);
}

int main(void)
{
    fw_loop *loop;
    struct answer answer = {.status = 1};
    if (fw_loop_new(&loop) || fw_kv_open(loop, "mem:consumer", NULL, &answer.kv) ||
        fw_kv_put(answer.kv, "greeting", (fw_slice){"hello", 5}, NULL, on_put, &answer))
        return 1;
    fw_loop_run(loop);
    printf("fairway %s: %s, %s\n", FW_VERSION, fw_strerror(answer.status),
           fw_balancer_find("rr")->name);
    return answer.status ? 1 : fw_loop_close(loop);
}
