import { Alert, Button, Group, Modal, PasswordInput, Stack, Text } from '@mantine/core'
import { useState } from 'react'
import { useTranslation } from 'react-i18next'
import { changePassword } from '../../shared/auth'
import { SubmissionError } from './AccessCard'
import { acceptable, PasswordFields } from './PasswordFields'
import { useSubmission } from './useSubmission'

/** `must`: nothing else works before, so it cannot be closed. */
export function ChangePasswordDialog({
  opened,
  onClose,
  must = false,
}: {
  opened: boolean
  onClose: () => void
  must?: boolean
}) {
  const { t } = useTranslation()
  const [current, setCurrent] = useState('')
  const [value, setValue] = useState({ first: '', second: '' })
  const [done, setDone] = useState(false)
  const { submit, error, busy } = useSubmission(async () => {
    await changePassword(current, value.first)
    setDone(true)
  })

  return (
    <Modal
      closeButtonProps={{ 'aria-label': t('app.close') }}
      opened={opened}
      onClose={onClose}
      title={t('login.change')}
      withCloseButton={!must}
      closeOnEscape={!must}
      closeOnClickOutside={!must}
    >
      {done ? (
        <Stack>
          <Alert color="teal">{t('login.changed')}</Alert>
          <Button onClick={onClose}>{t('app.close')}</Button>
        </Stack>
      ) : (
        <form onSubmit={submit}>
          <Stack>
            {must && <Text size="sm">{t('login.mustChange')}</Text>}
            <SubmissionError error={error} />
            <PasswordInput
              label={t('login.current')}
              autoComplete="current-password"
              value={current}
              onChange={(event) => setCurrent(event.currentTarget.value)}
              required
            />
            <PasswordFields value={value} onChange={setValue} />
            <Group justify="flex-end">
              {!must && (
                <Button variant="default" onClick={onClose}>
                  {t('app.cancel')}
                </Button>
              )}
              <Button type="submit" loading={busy} disabled={!current || !acceptable(value)}>
                {t('login.change')}
              </Button>
            </Group>
          </Stack>
        </form>
      )}
    </Modal>
  )
}
