#include "cli.h"

#include <fairway/version.h>

int cmd_version(cli_context *cli, int argc, char **argv)
{
    const cli_option options[] = {CLI_END};
    int count, rc = cli_parse(cli, options, "", "Prints the version.", argc, argv, 0, 0, &count);
    if (rc >= 0)
        return rc;
    if (cli->json) {
        cJSON *json = cJSON_CreateObject();
        cJSON_AddStringToObject(json, "version", FW_VERSION);
        cli_print_json(json);
    } else {
        printf("fairway %s\n", FW_VERSION);
    }
    return EXIT_DONE;
}
