//! The ideal time is the time that the world then really needs.

use castle_lab::World;
use castle_lab::ideal::machines_ideal;

use crate::house::{House, blue};

#[test]
fn the_ideal_is_what_a_perfect_client_measures() {
    for seed in 0..20 {
        let mut house = House::with_seed(seed);
        let ideal = machines_ideal(&blue(), &house.world);
        assert!(ideal.exact);
        // Two slots: the first two imports run, the third follows the first that ends.
        // A perfect client knows the best order; trying all of them is the proof.
        let best = [[421, 431, 432], [421, 432, 431], [431, 432, 421]]
            .into_iter()
            .map(|order| perfect_create(&mut House::with_seed(seed), order))
            .fold(f64::MAX, f64::min);
        let ideal_seconds = ideal.create.as_secs_f64();
        // Allocations exclude each other for a tenth of a second; the ideal leaves that out.
        assert!(best >= ideal_seconds - 1e-6, "seed {seed}: {best} is better than the ideal {ideal_seconds}");
        assert!(best <= ideal_seconds + 1.0, "seed {seed}: {best} is far from the ideal {ideal_seconds}");

        let destroy = {
            perfect_create(&mut house, [421, 431, 432]);
            perfect_destroy(&mut house)
        };
        let ideal_seconds = ideal.destroy.as_secs_f64();
        assert!(destroy >= ideal_seconds - 1e-6 && destroy <= ideal_seconds + 1.0, "{destroy} beside {ideal_seconds}");
        house.is_tidy();
    }
}

/// Drives three machines to running with two imports at a time and no delay.
fn perfect_create(house: &mut House, order: [u32; 3]) -> f64 {
    let mut waiting: Vec<u32> = order.iter().rev().copied().collect();
    let mut work: Vec<(u32, usize, String)> = Vec::new();
    let begin = house.world.now();
    loop {
        while work.iter().filter(|(_, stage, _)| *stage == 0).count() < 2 {
            let Some(id) = waiting.pop() else { break };
            let mac = format!("virtio=BC:24:11:00:{:02X}:{:02X},bridge=vmbr0", id >> 8, id & 0xFF);
            let upid = house.create_with(id, &[("net0", &mac), ("protection", "")]).text();
            work.push((id, 0, upid));
        }
        if work.is_empty() {
            return (house.world.now() - begin).as_secs_f64();
        }
        let next = house.world.next_event_at().expect("work is due");
        house.world.advance_to(next);
        let mut done = Vec::new();
        for (id, stage, upid) in &mut work {
            if house.world.proxmox.task("pve", upid).unwrap().is_running() {
                continue;
            }
            *stage += 1;
            match *stage {
                1 => {
                    let path = format!("/nodes/pve/qemu/{id}/resize");
                    *upid = house.ask("PUT", &path, &[("disk", "scsi0"), ("size", "40G")]).text();
                }
                2 => *upid = house.ask("POST", &format!("/nodes/pve/qemu/{id}/status/start"), &[]).text(),
                _ => done.push(*id),
            }
        }
        work.retain(|(id, _, _)| !done.contains(id));
    }
}

fn perfect_destroy(house: &mut House) -> f64 {
    let begin = house.world.now();
    let mut work: Vec<(u32, bool, String)> = Vec::new();
    for id in [421, 431, 432] {
        let upid = house.ask("POST", &format!("/nodes/pve/qemu/{id}/status/stop"), &[]).text();
        work.push((id, false, upid));
    }
    while !house.world.machines_of_castle().is_empty() {
        let next = house.world.next_event_at().expect("work is due");
        house.world.advance_to(next);
        for (id, deleting, upid) in &mut work {
            if !*deleting && !house.world.proxmox.task("pve", upid).unwrap().is_running() {
                *deleting = true;
                *upid = house.ask("DELETE", &format!("/nodes/pve/qemu/{id}"), &[]).text();
            }
        }
    }
    (house.world.now() - begin).as_secs_f64()
}

#[test]
fn ten_idle_seconds_change_nothing_in_the_ideal() {
    let mut world = World::home(&blue(), 7);
    let fresh = machines_ideal(&blue(), &world);
    world.advance_to(std::time::Duration::from_secs(10));
    assert_eq!(machines_ideal(&blue(), &world), fresh);
    assert_ne!(machines_ideal(&blue(), &World::home(&blue(), 8)), fresh);
}
