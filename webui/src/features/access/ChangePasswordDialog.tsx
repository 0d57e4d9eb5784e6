import { Alert, Button, Group, Modal, PasswordInput, Stack, Text } from '@mantine/core'
import { type FormEvent, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { changePassword } from '../../shared/auth'
import { acceptable, PasswordFields } from './PasswordFields'

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
  const [error, setError] = useState<string>()
  const [done, setDone] = useState(false)

  async function submit(event: FormEvent) {
    event.preventDefault()
    setError(undefined)
    try {
      await changePassword(current, value.first)
      setDone(true)
    } catch (failure) {
      setError((failure as Error).message)
    }
  }

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
            {error && (
              <Alert color="red" role="alert">
                {error}
              </Alert>
            )}
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
              <Button type="submit" disabled={!current || !acceptable(value)}>
                {t('login.change')}
              </Button>
            </Group>
          </Stack>
        </form>
      )}
    </Modal>
  )
}
