import {
  Alert,
  Anchor,
  Button,
  Code,
  Group,
  Image,
  Modal,
  PasswordInput,
  SimpleGrid,
  Stack,
  Text,
} from '@mantine/core'
import { useEffect, useState } from 'react'
import { useTranslation } from 'react-i18next'
import {
  confirmTotp,
  disableTotp,
  logout,
  refresh,
  type StartedTotp,
  secondFactorOn,
  startTotp,
} from '../../shared/auth'
import { SubmissionError } from './AccessCard'
import { CodeField } from './CodeField'
import { useSubmission } from './useSubmission'

type Props = { opened: boolean; onClose: () => void; must?: boolean }

/** Sets a second factor up, or takes it away. `must`: nothing else works before, so it cannot be closed. */
export function SecondFactorDialog({ opened, onClose, must = false }: Props) {
  const { t } = useTranslation()
  return (
    <Modal
      closeButtonProps={{ 'aria-label': t('app.close') }}
      opened={opened}
      onClose={onClose}
      title={t('factor.title')}
      withCloseButton={!must}
      closeOnEscape={!must}
      closeOnClickOutside={!must}
    >
      {/* Made anew each time that it is opened: secrets do not stay behind. */}
      <Steps onClose={onClose} must={must} />
    </Modal>
  )
}

function Steps({ onClose, must }: { onClose: () => void; must: boolean }) {
  const { t } = useTranslation()
  const [on, setOn] = useState(must ? false : undefined)
  const [password, setPassword] = useState('')
  const [code, setCode] = useState('')
  const [made, setMade] = useState<StartedTotp>()
  const [codes, setCodes] = useState<string[]>()
  const [off, setOff] = useState(false)
  useEffect(() => {
    if (!must) secondFactorOn().then(setOn, () => undefined)
  }, [must])
  const { submit, error, busy } = useSubmission(async () => {
    if (on) {
      await disableTotp(password, code)
      setOff(true)
    } else if (made) setCodes(await confirmTotp(code))
    else setMade(await startTotp(password))
  })

  if (codes)
    return (
      <Stack>
        <Alert color="teal">{t('factor.done')}</Alert>
        <Text size="sm">{t('factor.recovery')}</Text>
        <SimpleGrid cols={2} spacing={6}>
          {codes.map((one) => (
            <Code key={one}>{one}</Code>
          ))}
        </SimpleGrid>
        <Button
          onClick={() => {
            void refresh()
            onClose()
          }}
        >
          {t('factor.kept')}
        </Button>
      </Stack>
    )
  if (off)
    return (
      <Stack>
        <Alert color="teal">{t('factor.gone')}</Alert>
        <Button onClick={onClose}>{t('app.close')}</Button>
      </Stack>
    )
  return (
    <form onSubmit={submit}>
      <Stack>
        <Text size="sm">{t(must ? 'factor.must' : on ? 'factor.isOn' : 'factor.what')}</Text>
        <SubmissionError error={error} />
        {made ? (
          <>
            <Text size="sm">{t('factor.scan')}</Text>
            <Image
              src={`data:image/svg+xml,${encodeURIComponent(made.qrCode)}`}
              alt={t('factor.qrCode')}
              w={208}
              p={8}
              mx="auto"
              // Scanners want dark on light, in the dark face too.
              bg="white"
            />
            <Text size="sm">{t('factor.enter')}</Text>
            <Code block>{made.secret}</Code>
            <Anchor href={made.url} size="sm">
              {t('factor.open')}
            </Anchor>
          </>
        ) : (
          <PasswordInput
            label={t('login.current')}
            autoComplete="current-password"
            value={password}
            onChange={(event) => setPassword(event.currentTarget.value)}
            required
            data-autofocus
          />
        )}
        {(made || on) && <CodeField value={code} onChange={setCode} />}
        <Group justify="flex-end">
          <Button variant="default" onClick={must ? () => void logout() : onClose}>
            {t(must ? 'app.logout' : 'app.cancel')}
          </Button>
          <Button
            type="submit"
            loading={busy}
            color={on ? 'red' : undefined}
            disabled={on === undefined || (made ? !code : !password || (on && !code))}
          >
            {t(on ? 'factor.off' : made ? 'factor.confirm' : 'factor.start')}
          </Button>
        </Group>
      </Stack>
    </form>
  )
}
