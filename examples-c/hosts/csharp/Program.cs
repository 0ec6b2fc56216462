// A policy for a batch of agents, as a game's update would run it: load, frames, an error that is
// handled, reload, shutdown, start again.
//
//   mcs -unsafe Inferno.cs Program.cs -out:policy.exe
//   LD_LIBRARY_PATH=/opt/inferno/lib mono policy.exe MODEL.onnx

using System;
using System.Globalization;
using System.IO;
using System.Threading;
using Inferno;

// What a MonoBehaviour would hold: Awake loads, Update decides, OnDestroy disposes.
sealed unsafe class Agents : IDisposable
{
    public const int Observation = 64, Actions = 16;
    readonly int count;
    Session session;
    float* observations; // [count, Observation], the session's memory

    public Agents(string path, int agents)
    {
        count = agents;
        Reload(path);
    }

    // The session in use stays when the file is bad: what throws does so before it is replaced.
    public void Reload(string path)
    {
        using (Model model = Model.Load(path))
        {
            Session fresh = new Session(model, "batch", count);
            float* input = fresh.Input(0, out int numbers);
            if (numbers != count * Observation) throw new InvalidDataException(path + " is no policy of such agents");
            session?.Dispose();
            session = fresh;
            observations = input;
        }
    }

    // All agents in one run; gives what agent `index` does and how sure it is of it.
    public int Decide(int frame, int index, out float value)
    {
        for (int i = 0; i < count * Observation; i++) observations[i] = (i % Observation + frame) % 8 / 8f - 0.5f;
        session.Run();
        float* scores = session.Output(0, out int numbers);
        if (numbers != count * Actions) throw new InvalidDataException("the model gives " + numbers + " scores");
        int best = 0;
        scores += index * Actions;
        for (int i = 1; i < Actions; i++) if (scores[i] > scores[best]) best = i;
        value = scores[best];
        return best;
    }

    // A session that ended is answered with a status, and is no crash.
    public Status RunEnded()
    {
        session.Dispose();
        try { return session.TryRun(); }
        catch (ObjectDisposedException) { return Status.InvalidHandle; } // the SafeHandle was first
    }

    public void Dispose() { session.Dispose(); }
}

static class Program
{
    static string Answer(Agents agents)
    {
        int action = agents.Decide(0, 31, out float value);
        return string.Format(CultureInfo.InvariantCulture, "action {0} of {1}, value {2:F6}", action, Agents.Actions, value);
    }

    static void Expect(bool condition, string what)
    {
        if (!condition) throw new Exception("expected: " + what);
    }

    static string Play(string path)
    {
        int lines = 0;
        using (new Runtime())
        {
            Runtime.SetLog(4, (level, line) => Interlocked.Increment(ref lines));
            using (Agents agents = new Agents(path, 32))
            {
                string first = Answer(agents);
                Console.WriteLine("answer: " + first);
                // A warm frame leaves nothing for the collector to find.
                int collections = GC.CollectionCount(0);
                for (int frame = 1; frame < 20000; frame++) agents.Decide(frame, 0, out float ignored);
                Expect(GC.CollectionCount(0) == collections, "no collection in 20,000 frames");
                try
                {
                    agents.Reload("no-such-policy.onnx");
                    Expect(false, "an exception");
                }
                catch (InfernoException e)
                {
                    Expect(e.Status == Status.NotFound, "NotFound");
                    Console.WriteLine("refused: " + e.Message);
                }
                Expect(Answer(agents) == first, "the policy goes on");
                agents.Reload(path);
                Expect(Answer(agents) == first, "the same answer");
                Console.WriteLine("reloaded: same answer");
                Expect(agents.RunEnded() == Status.InvalidHandle, "InvalidHandle");
                Expect(lines > 0, "log lines through the callback");
                return first;
            }
        }
    }

    // Sessions that nobody disposes of, for finalizers to end, on their thread and after the shutdown.
    static void Forget(string path)
    {
        using (new Runtime())
        {
            Model model = Model.Load(File.ReadAllBytes(path));
            for (int i = 0; i < 50; i++) new Session(model, "batch", 1).Run();
        }
    }

    static int Main(string[] arguments)
    {
        if (arguments.Length != 1)
        {
            Console.Error.WriteLine("usage: policy.exe MODEL.onnx");
            return 2;
        }
        Console.WriteLine("library: Inferno " + Runtime.Version);
        string first = Play(arguments[0]);
        Forget(arguments[0]);
        GC.Collect();
        GC.WaitForPendingFinalizers();
        using (new Runtime())
        using (Agents agents = new Agents(arguments[0], 32))
        {
            Expect(Answer(agents) == first, "the same answer after a restart");
        }
        Console.WriteLine("restarted: same answer");
        return 0;
    }
}
