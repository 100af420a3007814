/*
 * SIGUSR1: the gateway reads its command file and does the one thing that is in it, as the original
 * does. The original's commands give what a C program has in that place; `state` is ours. What is
 * written stands beside the command file: fastway.cmd gives fastway.heap.prof.
 *
 * Files are written at once, on the loop: traffic waits for them, which is some milliseconds for
 * ten thousand connections.
 */
#include "cmd_gateway.h"

#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What came of a command; one line, as everything on stderr. */
static void say(const char *command, const char *text)
{
    fprintf(stderr, "gateway: %s: %s\n", command, text);
}

/* ---- what is written ---- */

static void write_json(FILE *file, cJSON *json)
{
    char *text = cJSON_PrintUnformatted(json);
    if (text)
        fprintf(file, "%s\n", text);
    free(text);
    cJSON_Delete(json);
}

static void write_peer(const fw_gateway_peer *peer, void *arg)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "side", peer->side == FW_GATEWAY_CLIENTS ? "client" : "server");
    cJSON_AddStringToObject(json, "peer", peer->url);
    if (peer->authenticated)
        cJSON_AddNumberToObject(json, "id", peer->id);
    cJSON_AddNumberToObject(json, "vconns", peer->vconns);
    cJSON_AddNumberToObject(json, "queued_bytes", (double)peer->queued_bytes);
    cJSON_AddNumberToObject(json, "silent_ms", (double)peer->silent_ms);
    write_json(arg, json);
}

static cJSON *stats_json(const fw_gateway *gateway)
{
    fw_gateway_stats stats;
    fw_gateway_stats_get(gateway, &stats);
#define MEMBER(name)                                                                               \
    {                                                                                              \
#name, stats.name                                                                          \
    }
    const struct {
        const char *name;
        uint64_t value;
    } members[] = {
        MEMBER(clients),
        MEMBER(servers),
        MEMBER(unauthenticated_servers),
        MEMBER(vconns),
        MEMBER(clients_total),
        MEMBER(servers_total),
        MEMBER(vconns_total),
        MEMBER(refused_connections),
        MEMBER(refused_addresses),
        MEMBER(refused_dials),
        MEMBER(hasty_dials),
        MEMBER(frames_from_clients),
        MEMBER(frames_from_servers),
        MEMBER(bytes_from_clients),
        MEMBER(bytes_from_servers),
        MEMBER(pings),
        MEMBER(unknown_vconns),
        MEMBER(foreign_closes),
        MEMBER(slow_vconns),
        MEMBER(slow_closed),
        MEMBER(idle_closed),
        MEMBER(protocol_errors),
        MEMBER(auth_failures),
        MEMBER(handshake_timeouts),
    };
#undef MEMBER
    cJSON *json = cJSON_CreateObject();
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        cli_json_add_int64(json, members[i].name, (int64_t)members[i].value);
    return json;
}

/* The figures in the first line, then a line for each connection. */
static void write_state(const gateway_daemon *daemon, FILE *file)
{
    write_json(file, stats_json(daemon->gateway));
    fw_gateway_each_peer(daemon->gateway, write_peer, file);
}

static void write_heap(const gateway_daemon *daemon, FILE *file)
{
    (void)daemon;
    malloc_info(0, file);
}

static void write_threads(const gateway_daemon *daemon, FILE *file)
{
    (void)daemon;
    DIR *dir = opendir("/proc/self/task");
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char path[300], name[64] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *comm = *entry->d_name == '.' ? NULL : fopen(path, "re");
        if (!comm)
            continue;
        if (fgets(name, sizeof name, comm))
            fprintf(file, "%s %s", entry->d_name, name);
        fclose(comm);
    }
    if (dir)
        closedir(dir);
}

/* ---- commands ---- */

static void to_file(const gateway_daemon *daemon, const char *command, const char *ending,
                    void (*write_it)(const gateway_daemon *daemon, FILE *file))
{
    const char *cmd = daemon->config.command_file, *dot = strrchr(cmd, '.');
    int base = (int)(dot && !strcmp(dot, ".cmd") ? (size_t)(dot - cmd) : strlen(cmd));
    char path[4096], text[4200];
    int size = snprintf(path, sizeof path, "%.*s.%s", base, cmd, ending);
    FILE *file = size > 0 && (size_t)size < sizeof path ? fopen(path, "we") : NULL;
    int err = file ? 0 : errno;
    if (file) {
        write_it(daemon, file);
        err = ferror(file) ? EIO : 0;
        if (fclose(file))
            err = errno;
    }
    snprintf(text, sizeof text, "%s %s", err ? strerror(err) : "written to", path);
    say(command, text);
}

static void collect(const char *command)
{
    int was_trimmed = malloc_trim(0);
    struct mallinfo2 info = mallinfo2();
    char text[200];
    snprintf(text, sizeof text, "%zu bytes in use, %zu free%s", info.uordblks, info.fordblks,
             was_trimmed ? ", some given back to the system" : "");
    say(command, text);
}

static void explain_profiling(const char *command)
{
    char text[200];
    snprintf(text, sizeof text, "not from inside; use: perf record -g -p %ld", (long)getpid());
    say(command, text);
}

static void print_help(void)
{
    static const char *const lines[] = {
        "state: figures, and a line of JSON for each connection, into NAME.state.json",
        "stats: the figures, here",
        "lookup goroutine: the same as state, into NAME.goroutine.prof",
        "lookup heap: the allocator's state, into NAME.heap.prof",
        "lookup threadcreate: the threads, into NAME.threadcreate.prof",
        "lookup gc: gives free memory back to the system, and says how much is in use",
        "cpuprof start, cpuprof stop, lookup block: says which tool does that",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        say("help", lines[i]);
}

/* "lookup KIND [N]": the number, a level of detail of the original's, makes no difference. */
static bool run_lookup(const gateway_daemon *daemon, const char *command, const char *kind)
{
    if (!strcmp(kind, "goroutine"))
        to_file(daemon, command, "goroutine.prof", write_state);
    else if (!strcmp(kind, "heap"))
        to_file(daemon, command, "heap.prof", write_heap);
    else if (!strcmp(kind, "threadcreate"))
        to_file(daemon, command, "threadcreate.prof", write_threads);
    else if (!strcmp(kind, "gc"))
        collect(command);
    else if (!strcmp(kind, "block"))
        explain_profiling(command);
    else
        return false;
    return true;
}

static void run_command(const gateway_daemon *daemon, const char *command)
{
    char words[3][24] = {"", "", ""}, more;
    int count = sscanf(command, "%23s %23s %23s %c", words[0], words[1], words[2], &more);
    bool has_level =
        count == 3 && strlen(words[2]) <= 4 && strspn(words[2], "0123456789") == strlen(words[2]);
    bool known = true;
    if (count == 1 && !strcmp(words[0], "help"))
        print_help();
    else if (count == 1 && !strcmp(words[0], "state"))
        to_file(daemon, command, "state.json", write_state);
    else if (count == 1 && !strcmp(words[0], "stats"))
        write_json(stderr, stats_json(daemon->gateway));
    else if (count == 2 && !strcmp(words[0], "cpuprof") &&
             (!strcmp(words[1], "start") || !strcmp(words[1], "stop")))
        explain_profiling(command);
    else if ((count == 2 || has_level) && !strcmp(words[0], "lookup"))
        known = run_lookup(daemon, command, words[1]);
    else
        known = false;
    if (!known)
        say(command, "unsupported command (help lists them)");
}

static void on_signal(uv_signal_t *handle, int signal)
{
    (void)signal;
    const gateway_daemon *daemon = handle->data;
    char line[200];
    FILE *file = fopen(daemon->config.command_file, "re");
    if (!file) {
        say(daemon->config.command_file, strerror(errno));
        return;
    }
    size_t len = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    while (len && strchr(" \t\r\n", line[len - 1]))
        len--;
    line[len] = 0;
    const char *command = line + strspn(line, " \t\r\n");
    for (char *p = line; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = ' '; /* one line, whatever is quoted */
    run_command(daemon, command);
}

int gateway_signal_start(gateway_daemon *daemon)
{
    int err = uv_signal_init(fw_loop_uv(daemon->cli->loop), &daemon->usr1);
    if (err)
        return err;
    daemon->usr1.data = daemon;
    err = uv_signal_start(&daemon->usr1, on_signal, SIGUSR1);
    if (err)
        gateway_signal_stop(daemon);
    return err;
}

void gateway_signal_stop(gateway_daemon *daemon)
{
    uv_close((uv_handle_t *)&daemon->usr1, NULL);
}
