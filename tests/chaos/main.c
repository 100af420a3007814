/* The scenarios of one driver: test_chaos_kv_NAME. */
#include "chaos.h"
#include "runner.h"

#include <stdlib.h>
#include <string.h>

static const char *scenario_name(size_t index)
{
    return chaos_this_driver.scenarios[index].name;
}

static void run(size_t index, uint64_t seed, const char *self)
{
    static chaos_stage chaos; /* its clients are threads, which a failed test leaves behind */
    chaos.driver = &chaos_this_driver;
    chaos.scenario = &chaos_this_driver.scenarios[index];
    chaos.self = self;
    chaos.seed = seed;
    chaos.random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    chaos_direct(&chaos);
}

static int role(int argc, char **argv)
{
    if (argc != 6 || strcmp(argv[1], "client"))
        return -1;
    chaos_sheet *sheet = chaos_sheet_open(argv[3]);
    chaos_client_options options = {
        .url = argv[2], .index = strtoul(argv[4], NULL, 10), .seed = strtoull(argv[5], NULL, 10)};
    if (!sheet) {
        perror(argv[3]);
        return 2;
    }
    int rc = chaos_client_run(&options, sheet);
    chaos_sheet_close(sheet);
    return rc;
}

int main(int argc, char **argv)
{
    const chaos_program program = {.name = chaos_this_driver.name,
                                   .jobs = chaos_this_driver.jobs,
                                   .shown = " writes (",
                                   .scenario_name = scenario_name,
                                   .run = run,
                                   .role = role};
    return chaos_main(&program, argc, argv);
}
