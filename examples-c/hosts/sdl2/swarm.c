/* A swarm in an SDL2 window: one run a frame steers all agents, whatever their number.
 *
 *   swarm MODEL.onnx [--frames N] [--shot FILE.bmp]
 *
 * R loads the model's file again while the swarm goes on; Escape ends. With --frames it ends by
 * itself, and checks reload and restart on the way.
 *
 * The model is a policy: what an agent sees, f32 [batch, 64], to scores of its 16 headings, f32
 * [batch, 16]. An agent sees how near the others are, in 16 directions; the mean course of those
 * there, as two numbers a direction; and the walls. The policy of the benchmarks is not trained: its agents
 * are consistent, and not clever.
 *
 *   cc swarm.c $(pkg-config --cflags --libs inferno sdl2) -lm -o swarm */

#include <SDL.h>
#include <inferno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AGENTS = 160, SECTORS = 16, SENSES = 64, WIDTH = 960, HEIGHT = 600, SIGHT = 90 };

static const float TURN = 6.2831853f;

/* ---- The policy: one session for the whole swarm ---------------------------------- */

struct policy {
  inferno_session *session;
  float *senses; /* [AGENTS, SENSES], memory of the session's */
};

static void complain(const char *what) {
  printf("refused: %s: %s\n", what, inferno_last_error());
}

static int is_f32_of(const inferno_tensor *tensor, int64_t rows, int64_t columns) {
  return tensor->dtype == INFERNO_DTYPE_F32 && tensor->rank == 2 && tensor->dims[0] == rows &&
         tensor->dims[1] == columns;
}

/* Gives 0 and a policy, or says why not and leaves `policy` as it was: also the reload. */
static int policy_load(const char *path, int64_t agents, struct policy *policy) {
  const inferno_symbol_value batch = {"batch", agents};
  inferno_session_options options;
  inferno_model *model = NULL;
  inferno_session *session = NULL;
  inferno_tensor senses;
  int bad = inferno_session_options_init(&options, sizeof options) != INFERNO_STATUS_OK;
  options.symbols = &batch;
  options.symbol_count = 1;
  bad = bad || inferno_model_load(path, NULL, &model) != INFERNO_STATUS_OK ||
        inferno_session_new(model, &options, &session) != INFERNO_STATUS_OK ||
        inferno_session_input(session, 0, &senses) != INFERNO_STATUS_OK;
  if (bad) {
    complain("the model stays as it is");
  } else if (!is_f32_of(&senses, agents, SENSES)) {
    printf("refused: %s is no policy of such agents\n", path);
    bad = 1;
  }
  inferno_model_free(model);
  if (bad) {
    inferno_session_free(session);
    return -1;
  }
  inferno_session_free(policy->session);
  policy->session = session;
  policy->senses = senses.data;
  return 0;
}

/* Scores of all headings of all agents, valid until the next run; NULL when it failed. */
static const float *policy_run(struct policy *policy, int64_t agents) {
  inferno_tensor scores;
  if (inferno_session_run(policy->session, NULL) != INFERNO_STATUS_OK ||
      inferno_session_output(policy->session, 0, &scores) != INFERNO_STATUS_OK ||
      !is_f32_of(&scores, agents, SECTORS)) {
    complain("run");
    return NULL;
  }
  return scores.data;
}

static int best_of(const float *scores) {
  int best = 0;
  for (int i = 1; i < SECTORS; i++) best = scores[i] > scores[best] ? i : best;
  return best;
}

/* The same agent alone, in every host of examples-c/hosts: prints, or compares, its answer. */
static int one_answer(const char *path, int *action, float *value) {
  struct policy policy = {NULL, NULL};
  const float *scores;
  if (policy_load(path, 1, &policy) != 0) return -1;
  for (int i = 0; i < SENSES; i++) policy.senses[i] = (float)(i % 8) / 8.0f - 0.5f;
  scores = policy_run(&policy, 1);
  if (scores != NULL) {
    *action = best_of(scores);
    *value = scores[*action];
  }
  inferno_session_free(policy.session);
  return scores != NULL ? 0 : -1;
}

/* ---- The swarm -------------------------------------------------------------------- */

struct agent {
  float x, y, course; /* course in radians */
};

static struct agent swarm[AGENTS];

static float chance(void) { /* 0 to 1, the same in every run of the program */
  static uint32_t state = 2463534242u;
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return (float)(state >> 8) / (float)(1u << 24);
}

static void swarm_init(void) {
  for (int i = 0; i < AGENTS; i++) {
    const struct agent agent = {WIDTH * chance(), HEIGHT * chance(), TURN * chance()};
    swarm[i] = agent;
  }
}

static float clamp(float value) { return value < 0 ? 0 : value > 1 ? 1 : value; }

/* What agent `me` sees, seen from its own course: written straight into the model's input. */
static void sense(int me, float *senses) {
  const struct agent *self = &swarm[me];
  memset(senses, 0, SENSES * sizeof *senses);
  for (int i = 0; i < AGENTS; i++) {
    const float dx = swarm[i].x - self->x, dy = swarm[i].y - self->y;
    const float distance = sqrtf(dx * dx + dy * dy);
    if (i == me || distance > SIGHT) continue;
    const float turns = (atan2f(dy, dx) - self->course) / TURN;
    const int sector = (int)((turns - floorf(turns)) * SECTORS) % SECTORS;
    const float nearness = 1 - distance / SIGHT;
    if (nearness > senses[sector]) senses[sector] = nearness;
    senses[SECTORS + 2 * sector] += cosf(swarm[i].course - self->course) * nearness;
    senses[SECTORS + 2 * sector + 1] += sinf(swarm[i].course - self->course) * nearness;
  }
  for (int sector = 0; sector < SECTORS; sector++) {
    const float angle = self->course + TURN * (float)sector / SECTORS;
    const float x = self->x + SIGHT * cosf(angle), y = self->y + SIGHT * sinf(angle);
    const float past = fmaxf(fmaxf(-x, x - WIDTH), fmaxf(-y, y - HEIGHT));
    senses[3 * SECTORS + sector] = clamp(past / SIGHT);
  }
}

/* The scores' softmax picks a heading; an agent turns towards it a little and goes on. */
static void act(struct agent *agent, const float *scores) {
  const float most = scores[best_of(scores)];
  float x = 0, y = 0;
  for (int i = 0; i < SECTORS; i++) {
    const float weight = expf(scores[i] - most);
    x += weight * cosf(TURN * (float)i / SECTORS);
    y += weight * sinf(TURN * (float)i / SECTORS);
  }
  agent->course += 0.08f * atan2f(y, x);
  agent->x += 1.8f * cosf(agent->course);
  agent->y += 1.8f * sinf(agent->course);
  if (agent->x < 0 || agent->x > WIDTH) agent->course = TURN / 2 - agent->course;
  if (agent->y < 0 || agent->y > HEIGHT) agent->course = -agent->course;
  agent->x = clamp(agent->x / WIDTH) * WIDTH;
  agent->y = clamp(agent->y / HEIGHT) * HEIGHT;
}

static int swarm_step(struct policy *policy) {
  const float *scores;
  for (int i = 0; i < AGENTS; i++) sense(i, policy->senses + i * SENSES);
  scores = policy_run(policy, AGENTS);
  if (scores == NULL) return -1;
  for (int i = 0; i < AGENTS; i++) act(&swarm[i], scores + i * SECTORS);
  return 0;
}

static SDL_Vertex corner(const struct agent *agent, float angle, float size) {
  SDL_Vertex vertex;
  const float hue = agent->course;
  vertex.position.x = agent->x + size * cosf(agent->course + angle);
  vertex.position.y = agent->y + size * sinf(agent->course + angle);
  vertex.color.r = (Uint8)(150 + 100 * cosf(hue));
  vertex.color.g = (Uint8)(150 + 100 * cosf(hue - TURN / 3));
  vertex.color.b = (Uint8)(150 + 100 * cosf(hue + TURN / 3));
  vertex.color.a = 255;
  vertex.tex_coord.x = vertex.tex_coord.y = 0;
  return vertex;
}

static void draw(SDL_Renderer *renderer) {
  static SDL_Vertex corners[3 * AGENTS];
  for (int i = 0; i < AGENTS; i++) {
    corners[3 * i] = corner(&swarm[i], 0, 11);
    corners[3 * i + 1] = corner(&swarm[i], 2.5f, 7);
    corners[3 * i + 2] = corner(&swarm[i], -2.5f, 7);
  }
  SDL_SetRenderDrawColor(renderer, 18, 20, 28, 255);
  SDL_RenderClear(renderer);
  SDL_RenderGeometry(renderer, NULL, corners, 3 * AGENTS, NULL, 0);
}

/* ---- The window -------------------------------------------------------------------- */

static int save(SDL_Renderer *renderer, const char *path) {
  SDL_Surface *picture = SDL_CreateRGBSurfaceWithFormat(0, WIDTH, HEIGHT, 24, SDL_PIXELFORMAT_BGR24);
  int bad = picture == NULL ||
            SDL_RenderReadPixels(renderer, NULL, SDL_PIXELFORMAT_BGR24, picture->pixels, picture->pitch) != 0 ||
            SDL_SaveBMP(picture, path) != 0;
  if (bad) fprintf(stderr, "%s: %s\n", path, SDL_GetError());
  SDL_FreeSurface(picture);
  return bad;
}

/* What happened since the last frame: 'q' to end, 'r' to reload, or 0. */
static int asked(void) {
  SDL_Event event;
  int wish = 0;
  while (SDL_PollEvent(&event)) {
    if (event.type == SDL_QUIT) wish = 'q';
    if (event.type == SDL_KEYDOWN && event.key.keysym.sym == SDLK_ESCAPE) wish = 'q';
    if (event.type == SDL_KEYDOWN && event.key.keysym.sym == SDLK_r) wish = 'r';
  }
  return wish;
}

struct options {
  const char *model, *shot;
  long frames; /* 0 = until Escape */
};

static int play(SDL_Renderer *renderer, const struct options *options, struct policy *policy) {
  for (long frame = 1; options->frames == 0 || frame <= options->frames; frame++) {
    const int wish = asked();
    if (wish == 'q') break;
    if (wish == 'r' || (options->frames > 0 && frame == options->frames / 2)) {
      policy_load(options->model, AGENTS, policy);
    }
    if (swarm_step(policy) != 0) return 1;
    draw(renderer);
    /* What was drawn is read before it is shown: afterwards it may be gone. */
    if (options->shot != NULL && frame == options->frames && save(renderer, options->shot)) return 1;
    SDL_RenderPresent(renderer);
    if (options->frames == 0) SDL_Delay(16);
  }
  return 0;
}

static int run(SDL_Renderer *renderer, const struct options *options) {
  struct policy policy = {NULL, NULL};
  int action = 0, again = 0, bad;
  float value = 0, value_again = 0;
  if (inferno_init(NULL) != INFERNO_STATUS_OK) return 1;
  if (one_answer(options->model, &action, &value) != 0) return 1;
  printf("answer: action %d of %d, value %.6f\n", action, SECTORS, (double)value);
  swarm_init();
  bad = policy_load(options->model, AGENTS, &policy) != 0 ||
        /* A file that is not there: told, and the swarm keeps what it has. */
        policy_load("no-such-policy.onnx", AGENTS, &policy) == 0 || play(renderer, options, &policy);
  bad = bad || one_answer(options->model, &again, &value_again) != 0 || again != action || value != value_again;
  if (!bad) printf("reloaded: same answer\n");
  /* The session is ended by the shutdown, as is all that a level forgot. */
  bad = inferno_shutdown() != INFERNO_STATUS_OK || bad;
  bad = bad || inferno_init(NULL) != INFERNO_STATUS_OK ||
        one_answer(options->model, &again, &value_again) != 0 || again != action || value != value_again;
  if (!bad) printf("restarted: same answer\n");
  return inferno_shutdown() != INFERNO_STATUS_OK || bad;
}

int main(int argc, char **argv) {
  struct options options = {NULL, NULL, 0};
  SDL_Window *window = NULL;
  SDL_Renderer *renderer = NULL;
  int bad;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--frames") == 0 && i + 1 < argc) options.frames = atol(argv[++i]);
    else if (strcmp(argv[i], "--shot") == 0 && i + 1 < argc) options.shot = argv[++i];
    else options.model = argv[i];
  }
  if (options.model == NULL || options.frames < 0) {
    fprintf(stderr, "usage: swarm MODEL.onnx [--frames N] [--shot FILE.bmp]\n");
    return 2;
  }
  bad = SDL_Init(SDL_INIT_VIDEO) != 0 ||
        SDL_CreateWindowAndRenderer(WIDTH, HEIGHT, 0, &window, &renderer) != 0;
  if (bad) fprintf(stderr, "SDL: %s\n", SDL_GetError());
  else bad = run(renderer, &options);
  SDL_DestroyRenderer(renderer);
  SDL_DestroyWindow(window);
  SDL_Quit();
  return bad;
}
