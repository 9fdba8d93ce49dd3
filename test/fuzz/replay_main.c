/* Runs every file of the folders named on the command line through the fuzz target it is linked with. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "fuzz.h"

static int run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return -1;
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    uint8_t *data =
        malloc(size > 0 ? (size_t)size : 1); /* exactly as large: a sanitizer sees the next byte */
    size_t got = data && size > 0 ? fread(data, 1, (size_t)size, file) : 0;
    if (data)
        LLVMFuzzerTestOneInput(data, got);
    free(data);
    fclose(file);
    return 0;
}

static int run_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    int count = 0;
    if (!dir)
        return 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        count += run_file(path) == 0;
    }
    closedir(dir);
    return count;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        int count = run_folder(argv[i]);
        printf("%s: %d inputs replayed\n", argv[i], count);
        if (count == 0)
            return 1; /* a corpus that is not there must not pass */
    }
    return argc > 1 ? 0 : 1;
}
