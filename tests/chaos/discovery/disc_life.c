#include "disc_role.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <uv.h>

#define LOOK_MS 20

struct disc_life {
    fw_loop *loop;
    fw_kv *kv;
    disc_sheet *sheet;
    uv_timer_t look;
    void (*on_look)(void *arg);
    void (*on_finish)(void *arg);
    void *arg;
};

static void on_timer(uv_timer_t *timer)
{
    disc_life *life = timer->data;
    if (life->on_look)
        life->on_look(life->arg);
    if (!atomic_load(&life->sheet->finish))
        return;
    uv_close((uv_handle_t *)timer, NULL);
    life->on_finish(life->arg);
}

disc_life *disc_life_new(const char *url, disc_sheet *sheet, void (*on_look)(void *arg),
                         void (*on_finish)(void *arg), void *arg)
{
    char detail[300] = "";
    disc_life *life = calloc(1, sizeof *life);
    fw_kv_options options = {.detail = detail, .detail_size = sizeof detail};
    int err = fw_loop_new(&life->loop);
    if (!err)
        err = fw_kv_open(life->loop, url, &options, &life->kv);
    if (err) {
        fprintf(stderr, "%s: %s %s\n", url, fw_strerror(err), detail);
        free(life);
        return NULL;
    }
    life->sheet = sheet;
    life->on_look = on_look;
    life->on_finish = on_finish;
    life->arg = arg;
    uv_timer_init(fw_loop_uv(life->loop), &life->look);
    life->look.data = life;
    uv_timer_start(&life->look, on_timer, LOOK_MS, LOOK_MS);
    return life;
}

fw_kv *disc_life_kv(const disc_life *life)
{
    return life->kv;
}

void disc_life_close(disc_life *life)
{
    fw_kv_close(life->kv, NULL, NULL);
}

int disc_life_run(disc_life *life)
{
    fw_loop_run(life->loop);
    int err = fw_loop_close(life->loop);
    if (err)
        fprintf(stderr, "something is left on the loop\n");
    free(life);
    return err ? 1 : 0;
}
