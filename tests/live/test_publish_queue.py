"""What waits for a target is bounded, begins with a key frame, and keeps its sound."""

from __future__ import annotations

from streamsr.live_frames import AudioFormat, LiveAudio, LiveVideo
from streamsr.media.publish_queue import PacketQueue, time_of

AAC = AudioFormat("aac", 48000, "stereo", 2, 1024)


def picture(time_s: float, *, key: bool = False) -> LiveVideo:
    return LiveVideo(b"v", round(time_s * 90000), round(time_s * 90000), key)


def tone(time_s: float) -> LiveAudio:
    return LiveAudio(b"a", AAC, time_s, 0.1, 0.0)


def fill(queue: PacketQueue, seconds: int) -> None:
    """Ten pictures and ten packets of sound a second, a key frame each second."""
    for number in range(seconds * 10):
        queue.put(picture(number / 10, key=number % 10 == 0))
        queue.put(tone(number / 10 + 0.05))


def rest(queue: PacketQueue) -> list[LiveVideo | LiveAudio]:
    taken = []
    while (packet := queue.take(0.0)) is not None:
        taken.append(packet)
    return taken


def pictures_of(packets: list[LiveVideo | LiveAudio]) -> list[LiveVideo]:
    return [packet for packet in packets if isinstance(packet, LiveVideo)]


def test_nothing_comes_before_the_first_key_frame() -> None:
    queue = PacketQueue(4.0)
    queue.put(picture(0.0))
    queue.put(picture(0.1, key=True))
    queue.put(picture(0.2))
    assert [time_of(packet) for packet in rest(queue)] == [0.1, 0.2]
    assert queue.dropped == 1


def test_it_is_bounded_and_leaves_out_whole_groups() -> None:
    queue = PacketQueue(3.0)
    fill(queue, 60)
    assert len(queue) < 2 * 31
    waiting = rest(queue)
    seen = pictures_of(waiting)
    assert seen[0].is_keyframe
    assert [round(time_of(packet) * 10) for packet in seen] == [*range(round(time_of(seen[0]) * 10), 600)]
    assert queue.dropped == 600 - len(seen)
    sounds = [time_of(packet) for packet in waiting if isinstance(packet, LiveAudio)]
    assert 2.8 < sounds[-1] - sounds[0] <= 3.0


def test_one_endless_group_is_left_out_until_the_next_key_frame() -> None:
    queue = PacketQueue(2.0)
    for number in range(100):
        queue.put(picture(number / 10, key=number == 0))
    assert pictures_of(rest(queue)) == []
    queue.put(picture(10.0))
    queue.put(picture(10.1, key=True))
    assert [time_of(packet) for packet in rest(queue)] == [10.1]
    assert queue.dropped == 101


def test_a_new_connection_begins_with_the_newest_or_the_oldest_key_frame() -> None:
    for at_newest, first_s in ((True, 2.0), (False, 0.0)):
        queue = PacketQueue(10.0)
        fill(queue, 3)
        queue.begin_again(at_newest=at_newest)
        waiting = rest(queue)
        assert next(time_of(packet) for packet in pictures_of(waiting)) == first_s
        assert min(time_of(packet) for packet in waiting) == first_s
    queue.put(picture(3.1))
    queue.begin_again(at_newest=True)
    queue.put(picture(3.2))
    assert rest(queue) == []


def test_a_closed_queue_gives_what_it_has() -> None:
    queue = PacketQueue(4.0)
    fill(queue, 1)
    queue.close()
    queue.put(tone(9.0))
    assert not queue.is_over
    assert len(rest(queue)) == 20
    assert queue.is_over
    assert queue.take(60.0) is None


def test_pictures_that_come_long_after_their_sound_are_not_late() -> None:
    queue = PacketQueue(2.0)
    for number in range(100):
        queue.put(tone(number / 10 + 5.0))
        queue.put(picture(number / 10, key=number % 10 == 0))
        assert len(queue) <= 2 * 31
        if number % 10 == 9:
            assert len(pictures_of(rest(queue))) == 10
    assert queue.dropped == 0
