//! The world document: users and their homes.

use rusqlite::params;

use super::home::leave_home;
use super::owner;
use super::world::{Builder, fill};
use crate::domain::world::{WorldHome, WorldUser};
use crate::domain::{Error, HomeId, ProjectNo, Result, UserNo};
use crate::store::generate;
use crate::store::password::PasswordHashes;

impl Builder<'_> {
    /// Writes a user. If `password` is `None`, the stored password remains.
    pub(super) fn user(&self, world: &mut WorldUser, password: Option<&PasswordHashes>) -> Result<()> {
        let app_no = self.app_no(&world.schema)?;
        let app_no = app_no.ok_or_else(|| Error::Refused(format!("there is no app {:?}", world.schema)))?;
        let stored = self.stored_user(app_no, world)?;
        let Some((user_no, before, hashes)) = stored else {
            self.complete_user(world)?;
            return self.put_user(app_no, None, world, password.unwrap_or(&PasswordHashes::default()));
        };
        world.or_stored(before.clone());
        self.complete_user(world)?;
        if before == *world && password.is_none() {
            return Ok(());
        }
        self.put_user(app_no, Some(user_no), world, password.unwrap_or(&hashes))
    }

    fn complete_user(&self, world: &mut WorldUser) -> Result<()> {
        fill(&mut world.uid, || generate::uid(self.now_ms))?;
        fill(&mut world.identity_id, generate::identity_id)?;
        fill(&mut world.login_id, generate::login_id)?;
        world.or_default();
        Ok(())
    }

    fn put_user(&self, app_no: i64, user_no: Option<i64>, world: &WorldUser, password: &PasswordHashes) -> Result<()> {
        self.write(
            "INSERT INTO app_user (user_no, project_no, app_no, uid, username, username_type, country_code,
             password_md5_hash, nick_name, avatar, gender, time_zone_id, identity_id, open_id, created_ms, updated_ms,
             login_id, phone, email, disabled, password_sha256_hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?15, ?16, ?17, ?18, ?19, ?20)
             ON CONFLICT (user_no) DO UPDATE SET uid = excluded.uid, username_type = excluded.username_type,
             country_code = excluded.country_code, password_md5_hash = excluded.password_md5_hash,
             password_sha256_hash = excluded.password_sha256_hash,
             nick_name = excluded.nick_name, avatar = excluded.avatar, gender = excluded.gender,
             time_zone_id = excluded.time_zone_id, identity_id = excluded.identity_id, open_id = excluded.open_id,
             updated_ms = excluded.updated_ms, login_id = excluded.login_id, phone = excluded.phone,
             email = excluded.email, disabled = excluded.disabled, access_version = access_version
             + (password_md5_hash IS NOT excluded.password_md5_hash OR disabled <> excluded.disabled
             OR password_sha256_hash IS NOT excluded.password_sha256_hash)",
            params![
                user_no,
                self.project_no,
                app_no,
                world.uid,
                world.username,
                world.username_type,
                world.country_code,
                password.md5,
                world.nick_name,
                world.avatar,
                world.gender,
                world.time_zone_id,
                world.identity_id,
                world.open_id,
                self.now_ms,
                world.login_id,
                world.phone,
                world.email,
                world.disabled,
                password.sha256
            ],
        )?;
        Ok(())
    }

    pub(super) fn home(&self, world: &mut WorldHome) -> Result<()> {
        let owner_no = self.user_no(&world.owner)?;
        let stored = self.stored_home(world, Some(owner_no))?.map(|(stored, _)| stored);
        if let Some(stored) = stored
            && let Some(previous) = world.or_stored(stored, ProjectNo(self.project_no), UserNo(owner_no))?
        {
            let id = stored.home_id;
            // The new owner must not remain a member as well.
            for no in self.owners.numbers("SELECT device_no FROM device WHERE home_id = ?1", id)? {
                self.owners.note_holders(no)?;
            }
            let detached = leave_home(self.connection, HomeId(id), previous, self.now_ms).map_err(Error::store)?;
            self.ended.borrow_mut().extend(detached);
            self.write("DELETE FROM home_member WHERE home_id = ?1 AND user_no = ?2", params![id, owner_no])?;
        }
        match world.home_id {
            Some(id) => {
                self.write(
                    "INSERT INTO home (home_id, project_no, owner_no, name) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (home_id) DO UPDATE SET owner_no = excluded.owner_no, name = excluded.name
                     WHERE home.project_no = excluded.project_no",
                    params![id, self.project_no, owner_no, world.name],
                )?;
            }
            None => world.home_id = Some(owner::new_home(self.connection, self.project_no, owner_no, &world.name)?),
        }
        Ok(())
    }
}
