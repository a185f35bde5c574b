// check dxc|fxc PROFILE LIST: compiles the HLSL files that LIST names with Microsoft's dxcompiler.dll or d3dcompiler_47.dll in the
// current folder, as wgpu does (its arguments, entry point "main"). A line of LIST is a word and a path; as soon as a file is done
// a line of "ok" or "FAILED", the milliseconds, that word, and what the compiler says of a failure is printed. Ends with 1 where one
// failed. Built with mingw-w64, run on Windows or under Wine; hlsl.sh does both. mingw-w64 has no dxcapi.h: the interfaces are
// declared here, as far as they are used.
#define COBJMACROS
#include <fcntl.h>
#include <io.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

typedef struct Object Object;

typedef struct {
  const void *text;
  SIZE_T size;
  UINT encoding;
} Source;

typedef struct {
  HRESULT(WINAPI *query)(Object *, REFIID, void **);
  ULONG(WINAPI *add)(Object *);
  ULONG(WINAPI *release)(Object *);
} ObjectTable;

// ID3DBlob and IDxcBlob
typedef struct {
  ObjectTable base;
  void *(WINAPI *bytes)(Object *);
  SIZE_T(WINAPI *size)(Object *);
} BlobTable;

// IDxcResult, by its base IDxcOperationResult
typedef struct {
  ObjectTable base;
  HRESULT(WINAPI *status)(Object *, HRESULT *);
  HRESULT(WINAPI *result)(Object *, Object **);
  HRESULT(WINAPI *errors)(Object *, Object **);
} ResultTable;

// IDxcCompiler3
typedef struct {
  ObjectTable base;
  HRESULT(WINAPI *compile)(Object *, const Source *, LPCWSTR *, UINT32, void *, REFIID, void **);
} CompilerTable;

struct Object {
  void *table;
};

#define CALL(object, kind, method, ...) (((kind *)(object)->table)->method((object), ##__VA_ARGS__))

static const GUID COMPILER = {0x73e22d93, 0xe6ce, 0x47f3, {0xb5, 0xbf, 0xf0, 0x66, 0x4f, 0x39, 0xc1, 0xb0}};
static const GUID COMPILER_3 = {0x228b4687, 0x5a6a, 0x4730, {0x90, 0x0c, 0x97, 0x02, 0xb2, 0x20, 0x3f, 0x54}};
static const GUID RESULT = {0x58346cda, 0xdde7, 0x4497, {0x94, 0x61, 0x6f, 0x87, 0xaf, 0x5e, 0x06, 0x59}};

typedef HRESULT(WINAPI *Create)(REFIID, REFIID, void **);
typedef HRESULT(WINAPI *Compile)(LPCVOID, SIZE_T, LPCSTR, void *, void *, LPCSTR, LPCSTR, UINT, UINT, Object **, Object **);

static char text[1 << 22];

static void release(Object *object) {
  if (object) CALL(object, ObjectTable, release);
}

static HRESULT by_dxc(Object *compiler, size_t size, const wchar_t *profile, Object **code, Object **errors) {
  Source source = {text, size, 65001 /* UTF-8 */};
  LPCWSTR arguments[] = {L"-E", L"main", L"-T", profile, L"-HV", L"2018", L"-no-warnings", L"-Ges"};
  Object *result = NULL;
  HRESULT status = CALL(compiler, CompilerTable, compile, &source, arguments, 8, NULL, &RESULT, (void **)&result);
  if (status) return status;
  CALL(result, ResultTable, status, &status);
  CALL(result, ResultTable, errors, errors);
  CALL(result, ResultTable, result, code);
  release(result);
  return status;
}

// The first lines of what a compiler says, without its warnings.
static void say(Object *errors) {
  if (!errors) return;
  const char *bytes = CALL(errors, BlobTable, bytes);
  SIZE_T size = CALL(errors, BlobTable, size);
  for (SIZE_T i = 0, lines = 0; i < size && bytes[i] && lines < 3;) {
    char line[1024];
    size_t length = 0;
    for (; i < size && bytes[i] && bytes[i] != '\n'; i++) {
      if (bytes[i] != '\r' && length < sizeof line - 1) line[length++] = bytes[i];
    }
    line[length] = 0;
    if (i < size && bytes[i]) i++;
    if (length && !strstr(line, ": warning ")) lines++, printf(" | %s", line);
  }
}

int main(int argc, char **argv) {
  if (argc != 4 || (strcmp(argv[1], "dxc") && strcmp(argv[1], "fxc"))) {
    fprintf(stderr, "usage: check dxc|fxc PROFILE LIST\n");
    return 2;
  }
  int dxc = !strcmp(argv[1], "dxc");
  HMODULE library = LoadLibraryA(dxc ? "dxcompiler.dll" : "d3dcompiler_47.dll");
  if (!library) {
    fprintf(stderr, "check: the compiler's library can't be loaded: error %lu\n", GetLastError());
    return 2;
  }
  Object *compiler = NULL;
  Compile compile = NULL;
  if (dxc) {
    Create create = (Create)(void *)GetProcAddress(library, "DxcCreateInstance");
    if (!create || create(&COMPILER, &COMPILER_3, (void **)&compiler)) {
      fprintf(stderr, "check: the library makes no compiler\n");
      return 2;
    }
  } else {
    compile = (Compile)(void *)GetProcAddress(library, "D3DCompile");
  }
  wchar_t profile[16] = {0};
  mbstowcs(profile, argv[2], 15);
  FILE *list = fopen(argv[3], "r");
  if (!list) {
    fprintf(stderr, "check: no file %s\n", argv[3]);
    return 2;
  }
  // Lines end as on the system that reads them.
  _setmode(_fileno(stdout), _O_BINARY);
  char line[1024];
  int failed = 0;
  while (fgets(line, sizeof line, list)) {
    line[strcspn(line, "\r\n")] = 0;
    char *path = strchr(line, ' ');
    if (!path) {
      fprintf(stderr, "check: a line of %s is no word and a path: %s\n", argv[3], line);
      return 2;
    }
    *path++ = 0;
    FILE *file = fopen(path, "rb");
    if (!file) {
      fprintf(stderr, "check: no file %s\n", path);
      return 2;
    }
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = 0;
    Object *code = NULL, *errors = NULL;
    DWORD start = GetTickCount();
    HRESULT status = E_FAIL;
    if (dxc) status = by_dxc(compiler, size, profile, &code, &errors);
    else status = compile(text, size, path, NULL, NULL, "main", argv[2], 0x800 /* strictness */, 0, &code, &errors);
    DWORD time = GetTickCount() - start;
    if (status == 0 && code && CALL(code, BlobTable, size) > 0) {
      printf("ok %lu %s\n", time, line);
    } else {
      failed = 1;
      printf("FAILED %lu %s %08lx ", time, line, (unsigned long)status);
      say(errors);
      printf("\n");
    }
    fflush(stdout);
    release(code);
    release(errors);
  }
  return failed;
}
