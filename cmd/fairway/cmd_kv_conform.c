/* fairway kv-conform: the conformance suite is a program of its own, beside this one (it is built
 * of the tests' sources); it takes over. */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef FAIRWAY_LIBEXEC
#define FAIRWAY_LIBEXEC "../libexec/fairway"
#endif

int cmd_kv_conform(cli_context *cli, int argc, char **argv)
{
    char own[1024], path[1200];
    ssize_t len = readlink("/proc/self/exe", own, sizeof own - 1);
    if (len < 0)
        return cli_fail_error("/proc/self/exe", -errno, NULL);
    own[len] = 0;
    char *slash = strrchr(own, '/');
    if (slash)
        *slash = 0;
    snprintf(path, sizeof path, "%s/" FAIRWAY_LIBEXEC "/kv-conform", own);
    char **words = calloc((size_t)argc + 2, sizeof *words);
    if (!words)
        return cli_fail_error(cli->command, UV_ENOMEM, NULL);
    words[0] = path;
    memcpy(words + 1, argv, (size_t)argc * sizeof *words);
    execv(path, words);
    int err = errno;
    free(words);
    if (err == ENOENT)
        return cli_fail(EXIT_FAILED, cli->command,
                        "this installation was built without it (FW_BUILD_CONFORM)");
    return cli_fail_error(path, -err, NULL);
}
