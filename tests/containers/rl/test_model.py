"""Q-learning on tables: against value iteration, against a plain loop, and its environments."""

import gymnasium
import numpy as np
import pytest

from common.failures import ClientError
from containers.rl import environments, kernels, worlds
from containers.rl.model import Learner, Settings, World, epsilons, probabilities
from containers.rl.numbering import Numbering

assert environments  # registers its own


def world_of(name, **config):
    environment = worlds.make(name, config, None)
    states = worlds.numbering(environment.observation_space, "observations").count
    actions = worlds.numbering(environment.action_space, "actions").count
    return worlds.tabulated(environment, states, actions)


def chances(world):
    return np.diff(world.odds, axis=2, prepend=0)


def optimal(world, discount):
    """Values (states, actions) by value iteration."""
    table = np.zeros(world.odds.shape[:2])
    for _ in range(5000):
        best = table.max(1)
        goal = world.rewards + discount * np.where(world.final, 0, best[world.following])
        table = (chances(world) * goal).sum(2)
    return table


def played(world, table, discount, episodes=2000):
    """Mean reward of the greedy policy."""
    learner = Learner(table.copy(), Settings(0.1, discount, 1), seed=5)
    sums, _ = learner.run(world, np.zeros(episodes), 200, learning=False)
    assert (learner.table == table).all()
    return sums.mean()


@pytest.mark.parametrize("look_ahead", [1, 3])
@pytest.mark.parametrize(
    ("name", "episodes"), [("CliffWalking-v1", 5000), ("Taxi-v3", 40_000), ("FrozenLake-v1", 100_000)]
)
def test_policies_are_as_good_as_value_iterations(name, episodes, look_ahead):
    world, discount = world_of(name), 0.99
    best = played(world, optimal(world, discount), discount)
    learner = Learner(np.zeros(world.odds.shape[:2]), Settings(0.05, discount, look_ahead), seed=0)
    learner.run(world, epsilons(1.0, 0.01 ** (2 / episodes), 0.01, 0, episodes), 200)
    found = played(world, learner.table, discount)
    assert found > best - 0.08 * abs(best) - (0.5 if name == "Taxi-v3" else 0)


def test_values_of_a_world_without_chance_become_the_true_ones():
    world = world_of("CliffWalking-v1")
    learner = Learner(np.zeros((48, 4)), Settings(1.0, 0.9, 1), seed=0)
    learner.run(world, np.ones(3000), 1000)
    # The cells of the cliff and the goal are never in.
    seen = [state for state in range(48) if not 37 <= state <= 47]
    np.testing.assert_allclose(learner.table[seen], optimal(world, 0.9)[seen], atol=1e-9)


def plainly(world, table, limit, ahead, rate, discount, shares, random):
    """The same as the kernel in plain Python, with whole lists in place of rings."""
    draw = lambda: kernels.draw(random)  # noqa: E731
    sums = []
    for share in shares:
        state = int(np.searchsorted(world.starts, draw(), "right"))
        trace, ended = [], False
        while not ended and len(trace) < limit:
            best = np.flatnonzero(table[state] == table[state].max())
            if draw() < share:
                action = int(draw() * table.shape[1])
            else:
                action = int(best[int(draw() * len(best)) if len(best) > 1 else 0])
            outcome = min(int(np.searchsorted(world.odds[state, action], draw(), "right")), 2)
            reward, ended = world.rewards[state, action, outcome], world.final[state, action, outcome]
            trace.append((state, action, reward, action in best))
            state = world.following[state, action, outcome]
            if len(trace) >= ahead:
                move(table, trace[-ahead:], state, ended, rate, discount)
        for left in range(min(ahead - 1, len(trace)), 0, -1):
            move(table, trace[-left:], state, ended, rate, discount)
        sums.append(sum(step[2] for step in trace))
    return sums


def move(table, steps, after, ended, rate, discount):
    for number, (state, _, _, best) in enumerate(steps):
        if number and not best:
            steps, after, ended = steps[:number], state, False
            break
    goal = 0.0 if ended else table[after].max()
    for _, _, reward, _ in reversed(steps):
        goal = reward + discount * goal
    state, action, _, _ = steps[0]
    table[state, action] += rate * (goal - table[state, action])


@pytest.mark.parametrize("look_ahead", [1, 2, 5, 300])
def test_the_kernel_does_what_a_plain_loop_does(look_ahead):
    world = world_of("FrozenLake-v1")
    shares = np.full(300, 0.7)
    learner = Learner(np.zeros((16, 4)), Settings(0.1, 0.9, look_ahead), seed=3)
    sums, _ = learner.run(world, shares, 50)
    table = np.zeros((16, 4))
    assert plainly(world, table, 50, look_ahead, 0.1, 0.9, shares, np.array([3], np.uint64)) == sums.tolist()
    np.testing.assert_array_equal(learner.table, table)


def test_steps_from_outside_teach_the_same():
    outcome = np.ones((2, 1, 1))
    world = World(outcome, np.array([[[1]], [[0]]]), np.array([[[1.0]], [[2.0]]]), outcome < 0, np.ones(2))
    whole = Learner(np.zeros((2, 1)), Settings(0.5, 0.9, 3), seed=0)
    whole.run(world, np.zeros(2), 5)
    stepped = Learner(np.zeros((2, 1)), Settings(0.5, 0.9, 3), seed=0)
    for _ in range(2):
        stepped.begin()
        for state in (0, 1, 0, 1, 0):
            stepped.step(state, 0, state + 1.0, 1 - state, ended=False)
        stepped.end()
    np.testing.assert_array_equal(whole.table, stepped.table)
    assert whole.table.min() > 1


def test_random_numbers_are_even_and_actions_are_drawn_from_all():
    random = np.array([1], np.uint64)
    drawn = np.array([kernels.draw(random) for _ in range(20_000)])
    assert 0 <= drawn.min() < 0.001
    assert 0.999 < drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 0.01
    values = np.array([0.0, 5.0, 5.0])
    chosen = np.bincount([kernels.choose(values, 1.0, True, random) for _ in range(3000)], minlength=3)
    assert chosen.min() > 850
    assert {kernels.choose(values, 0.0, False, random) for _ in range(50)} == {1}
    best = np.bincount([kernels.choose(values, 0.0, True, random) for _ in range(3000)], minlength=3)
    assert best[0] == 0
    assert best[1:].min() > 1350


def test_a_reward_that_is_far_away_is_found():
    world = world_of("FrozenLake-v1", map_name="8x8", is_slippery=False)
    learner = Learner(np.zeros((64, 4)), Settings(0.1, 0.99, 1), seed=0)
    learner.run(world, epsilons(1.0, 0.02 ** (1 / 5000), 0.02, 0, 10_000), 100)
    assert played(world, learner.table, 0.99, episodes=10) == 1


def test_epsilon_falls_to_its_least():
    np.testing.assert_allclose(epsilons(1.0, 0.5, 0.2, 1, 3), [0.5, 0.25, 0.2])


def test_probabilities_are_shared_by_equals():
    np.testing.assert_array_equal(
        probabilities(np.array([[1.0, 3, 3], [2, 1, 0]])), [[0, 0.5, 0.5], [1, 0, 0]]
    )


def test_observations_are_numbered_part_by_part():
    space = gymnasium.spaces.Tuple(
        [gymnasium.spaces.Discrete(3, start=5), gymnasium.spaces.MultiDiscrete([2, 4])]
    )
    numbering = worlds.numbering(space, "observations")
    assert numbering.count == 24
    found = [numbering.number((a, b, c)) for a in (5, 6, 7) for b in range(2) for c in range(4)]
    assert found == list(range(24))
    assert numbering.parts(23) == [7, 1, 3]
    for wrong in ((4, 0, 0), (5, 2, 0), (5, 0), 5, (5, 0, 0.5), "abc"):
        with pytest.raises(ValueError):  # noqa: PT011
            numbering.number(wrong)


def test_what_is_not_discrete_or_too_large_is_refused():
    with pytest.raises(ClientError, match="the observations of the environment are Box"):
        worlds.numbering(gymnasium.spaces.Box(0, 1), "observations")
    with pytest.raises(ClientError, match="accepted: at most"):
        worlds.check_size(Numbering((1 << 20, 1 << 20), (0, 0)), Numbering((2,), (0,)))


@pytest.mark.parametrize(
    "name", ["algodock/CatAndMouse-v0", "algodock/SupplyChain-v0", "algodock/Building-v0"]
)
def test_own_environments_do_what_their_tables_say(name):
    environment = worlds.make(name, {}, None)
    world = world_of(name)
    assert np.allclose(chances(world).sum(2), 1)
    state, _ = environment.reset(seed=0)
    for _ in range(200):
        action = environment.action_space.sample()
        after, reward, ended, truncated, _ = environment.step(action)
        likely = chances(world)[state, action] > 0
        known = zip(
            world.following[state, action][likely],
            world.rewards[state, action][likely],
            world.final[state, action][likely],
            strict=True,
        )
        assert (after, reward, ended) in list(known)
        state = environment.reset()[0] if ended or truncated else after


def test_the_building_is_kept_warm_for_less_than_always_heating_costs():
    world = world_of("algodock/Building-v0")
    learner = Learner(np.zeros((600, 4)), Settings(0.1, 0.95, 1), seed=0)
    learner.run(world, epsilons(1.0, 0.9998, 0.02, 0, 40_000), 72)
    always = np.zeros((600, 4))
    always[:, 2] = 1
    found = played(world, learner.table, 0.95)
    assert found > 0.5 * played(world, always, 0.95)
    assert found > 1.15 * played(world, optimal(world, 0.95), 0.95)


def test_the_mouse_finds_the_cheese_and_the_shop_earns():
    world = world_of("algodock/CatAndMouse-v0")
    learner = Learner(np.zeros(world.odds.shape[:2]), Settings(0.1, 0.97, 1), seed=0)
    assert played(world, learner.table, 0.97) < 0
    learner.run(world, epsilons(1.0, 0.9998, 0.02, 0, 40_000), 200)
    assert played(world, learner.table, 0.97) > 0.7
    shop = world_of("algodock/SupplyChain-v0")
    learner = Learner(np.zeros((21, 21)), Settings(0.05, 0.95, 1), seed=0)
    learner.run(shop, epsilons(1.0, 0.9995, 0.05, 0, 20_000), 100)
    assert played(shop, learner.table, 0.95) > 0.9 * played(shop, optimal(shop, 0.95), 0.95)
