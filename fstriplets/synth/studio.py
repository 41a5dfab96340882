"""The one object a user needs: people, scenes and photos from seeds.

studio = Studio()
person, scene = studio.person(7), studio.scene(700)
photo = studio.photo(person, scene, size=256)              # photo.pixels, photo.truth
older = studio.edited(person, scene, "aging", 0.8, size=256)
truth = studio.swapped(studio.person(8), person, scene, size=256)
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from fstriplets.synth.body import Body, build_body
from fstriplets.synth.edits import apply_edit
from fstriplets.synth.facemodel import load_face_model
from fstriplets.synth.mesh import Mesh, build_mesh
from fstriplets.synth.person import Person, make_person
from fstriplets.synth.render import Photo, render_photo
from fstriplets.synth.scene import Scene, make_scene
from fstriplets.synth.swap import swap_person

__all__ = ["Studio"]


class Studio:
    """Draws people from the imported face model.

    Args:
        face_model: an .npz written by `synth import-face-model`; None: the imported one.
        keep: bodies kept in memory (about 30 MB each).

    Raises:
        UserError: no face model; the message names the command that imports it.
    """

    def __init__(self, face_model: str | Path | None = None, keep: int = 4) -> None:
        self.mesh: Mesh = build_mesh(load_face_model(face_model))
        self._keep = keep
        self._people: OrderedDict[int, Person] = OrderedDict()
        self._bodies: OrderedDict[int, tuple[Person, Body]] = OrderedDict()
        self._swap: tuple[Person, Person, str, Body] | None = None  # the last one

    def person(self, seed: int) -> Person:
        """The person of an identity seed (any integer >= 0)."""
        if seed not in self._people:
            self._people[seed] = make_person(seed)
            if len(self._people) > 4 * self._keep:
                self._people.popitem(last=False)
        return self._people[seed]

    def scene(self, seed: int, max_yaw: float = 60.0) -> Scene:
        """The circumstances of a photo's seed; `max_yaw` in degrees."""
        return make_scene(self.mesh, seed, max_yaw)

    def body(self, person: Person, like: Person | None = None) -> Body:
        """What all photos of a person share; parts of `like`, the person before an edit, are reused."""
        key = id(person)
        if key in self._bodies and self._bodies[key][0] is person:
            self._bodies.move_to_end(key)
            return self._bodies[key][1]
        body = build_body(person, self.mesh, self.body(like) if like is not None else None)
        self._bodies[key] = (person, body)
        if len(self._bodies) > self._keep:
            self._bodies.popitem(last=False)
        return body

    def photo(self, person: Person, scene: Scene, size: int = 256) -> Photo:
        """A square photo `size` pixels wide, with its truth."""
        return render_photo(self.body(person), scene, self.mesh, size)

    def edited(
        self, person: Person, scene: Scene, edit: str, strength: float, size: int = 256, seed: int = 0
    ) -> Photo:
        """The same photo after an edit (edits.SYNTH_EDITS) at a strength in 0..1."""
        changed, circumstances = apply_edit(person, scene, self.mesh, edit, strength, seed)
        body = self.body(changed, like=person) if changed is not person else self.body(person)
        return render_photo(body, circumstances, self.mesh, size)

    def swapped(
        self, source: Person, target: Person, scene: Scene, size: int = 256, hair: str = "target"
    ) -> Photo:
        """The true swap: the source's face in the photo (`target`, `scene`)."""
        last = self._swap
        if last is None or last[0] is not source or last[1] is not target or last[2] != hair:
            known = self._bodies.get(id(source))
            like = known[1] if known is not None and known[0] is source else None
            body = build_body(swap_person(source, target, hair), self.mesh, like)
            last = self._swap = (source, target, hair, body)
        return render_photo(last[3], scene, self.mesh, size)
